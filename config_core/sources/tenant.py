"""TENANT: the tenant's profile in the configuration file."""

from config_core.configuration_file import ConfigurationFile
from config_core.layer import Layer
from config_core.source import Source

DEFAULT_TENANT = "default"


def layer(document: ConfigurationFile, tenant: str) -> Layer | None:
    """The layer that the tenant's profile makes; `None` for a tenant without one."""
    entry = document.tenants.get(tenant)
    return Layer.of(Source.TENANT, entry.model_configuration) if entry else None
