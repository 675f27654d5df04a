"""What every RPC of every service passes through, from the outside to the inside."""

from service_core.interceptors.errors import ErrorInterceptor, TraceOf, forwarded_trace
from service_core.interceptors.handler import Call, HandlerInterceptor
from service_core.interceptors.telemetry import TelemetryInterceptor

__all__ = [
    "Call",
    "ErrorInterceptor",
    "HandlerInterceptor",
    "TelemetryInterceptor",
    "TraceOf",
    "forwarded_trace",
]
