"""Certificates of servers and of calls to servers, taken over while the process runs."""

from service_core.tls.client import ClientTls
from service_core.tls.server import ServerTls

__all__ = ["ClientTls", "ServerTls"]
