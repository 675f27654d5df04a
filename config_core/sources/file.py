"""FILE: the defaults of the configuration file."""

from config_core.configuration_file import ConfigurationFile
from config_core.layer import Layer
from config_core.source import Source


def layer(document: ConfigurationFile) -> Layer:
    """The layer that the file's defaults make."""
    return Layer.of(Source.FILE, document.defaults)
