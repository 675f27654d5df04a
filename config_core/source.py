"""Where a value of the effective configuration came from, highest first."""

from enum import IntEnum


class Source(IntEnum):
    """A layer of the resolution table. A smaller number outranks a larger one.

    The numbers are those of the wire enum `cascada.config.v1.ConfigurationSource`.
    """

    LOCKED = 1
    REQUEST = 2
    PREFERENCE = 3
    COLLECTION = 4
    TENANT = 5
    FILE = 6
    ENVIRONMENT = 7
    DEFAULT = 8
