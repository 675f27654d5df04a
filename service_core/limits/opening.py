"""Opens the counts that the settings name."""

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from config_core.settings import Settings
from service_core.limits.availability import GuardedLimits, OnFailure
from service_core.limits.memory import MemoryLimits
from service_core.limits.port import LimitStore


def open_limits(settings: Settings) -> LimitStore:
    """The counts: in memory, or in Redis or Valkey. Nothing is connected to yet.

    Raises:
        ConfigurationFileError: The client library of Redis is not installed.
    """
    if settings.limits_url is None:
        return MemoryLimits()
    try:
        from service_core.limits.shared import SharedLimits  # noqa: PLC0415 # an optional library
    except ModuleNotFoundError:
        problem = ("CASCADA_LIMITS_URL", "needs the redis library: pip install 'cascada[redis]'")
        raise ConfigurationFileError(PLACE, [problem]) from None
    return GuardedLimits(SharedLimits(settings.limits_url), OnFailure(settings.limits_on_failure))
