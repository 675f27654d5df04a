"""Audit: one line for each request that a service was sent, however it ended."""

from service_core.audit.entry import Entry
from service_core.audit.log import is_enabled, open_audit, write

__all__ = ["Entry", "is_enabled", "open_audit", "write"]
