"""Limits of tenants: requests and tokens in a minute, and requests at the same time."""

from service_core.limits.limiter import Limiter
from service_core.limits.memory import MemoryLimits
from service_core.limits.opening import open_limits

__all__ = ["Limiter", "MemoryLimits", "open_limits"]
