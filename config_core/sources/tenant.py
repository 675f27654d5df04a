"""TENANT: the tenant's profile in the configuration file."""

from config_core.configuration_file import TenantEntry
from config_core.layer import Layer
from config_core.source import Source

DEFAULT_TENANT = "default"


def layer(entry: TenantEntry) -> Layer:
    """The layer that a tenant's profile makes."""
    return Layer.of(Source.TENANT, entry.model_configuration)
