"""What every RPC of every service passes through, from the outside to the inside."""

from service_core.interceptors.audit import AuditInterceptor
from service_core.interceptors.ceilings import CeilingInterceptor
from service_core.interceptors.deadline import DeadlineInterceptor
from service_core.interceptors.errors import ErrorInterceptor, TraceOf, forwarded_trace
from service_core.interceptors.handler import Call, Entrance, HandlerInterceptor, Proceed
from service_core.interceptors.identity import IdentityInterceptor
from service_core.interceptors.limits import LimitsInterceptor
from service_core.interceptors.load import LoadInterceptor
from service_core.interceptors.telemetry import TelemetryInterceptor

__all__ = [
    "AuditInterceptor",
    "Call",
    "CeilingInterceptor",
    "DeadlineInterceptor",
    "Entrance",
    "ErrorInterceptor",
    "HandlerInterceptor",
    "IdentityInterceptor",
    "LimitsInterceptor",
    "LoadInterceptor",
    "Proceed",
    "TelemetryInterceptor",
    "TraceOf",
    "forwarded_trace",
]
