"""Who calls: tokens, certificates and signed tokens, and what each caller may do."""

from service_core.identity import startup
from service_core.identity.caller import Caller, acting, current, is_operator
from service_core.identity.guard import Guard

__all__ = ["Caller", "Guard", "acting", "current", "is_operator", "startup"]
