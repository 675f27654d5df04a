"""What the driver and the server raise, turned into the store's errors without their text."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from query.store.errors import StoreUnavailableError

CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""What another transaction caused and a repetition cures."""

_UNREACHABLE = (
    "PostgreSQL cannot be reached; check that it runs, and the host, port, sslmode and files that "
    "CASCADA_STORE names."
)

# By SQLSTATE, or by its first two characters, which name a class.
_SENTENCES = {
    "08": "The connection to PostgreSQL was lost; try again.",
    "28": "PostgreSQL refused the user or password of CASCADA_STORE.",
    "3D000": "PostgreSQL has no database of the name in CASCADA_STORE; create it.",
    "40": "Other writers were in the way too often; try again.",
    "53100": "PostgreSQL's disk is full; free some space and try again.",
    "53200": "PostgreSQL is out of memory; try again.",
    "53300": "PostgreSQL takes no more connections; raise max_connections or lower pool_size.",
    "55P03": "PostgreSQL kept the rows locked for too long; try again.",
    "57014": "PostgreSQL took too long; try again, or raise timeout_seconds in CASCADA_STORE.",
    "57P": "PostgreSQL is stopping or starting; try again.",
    "58": "PostgreSQL cannot read or write its files; check its disk.",
    "XX001": "PostgreSQL's data is damaged; restore it from a backup.",
    "XX002": "An index of PostgreSQL is damaged; rebuild it with REINDEX.",
    "25006": "PostgreSQL is read-only, a standby perhaps; name the primary in CASCADA_STORE.",
    "42501": "PostgreSQL does not let the user of CASCADA_STORE do this; grant it the rights.",
    "42P01": "Cascada's tables are gone from PostgreSQL; start again to make them anew.",
    "3F000": "Cascada's tables are gone from PostgreSQL; start again to make them anew.",
}


@contextmanager
def own_errors() -> Iterator[None]:
    """Let nothing of the driver's through: StoreUnavailableError, or ValueError for an argument."""
    try:
        yield
    except asyncpg.DataError:
        raise ValueError("a value is too large to be stored") from None
    except asyncpg.PostgresError as error:
        raise StoreUnavailableError(_sentence(str(error.sqlstate))) from None
    except ssl.SSLError:
        raise StoreUnavailableError(
            "PostgreSQL's certificate is not accepted; check sslmode and sslrootcert in "
            "CASCADA_STORE."
        ) from None
    except TimeoutError:
        raise StoreUnavailableError("PostgreSQL did not answer in time; try again.") from None
    except OSError:
        raise StoreUnavailableError(_UNREACHABLE) from None
    except asyncpg.ClientConfigurationError:
        raise StoreUnavailableError(
            "A setting in CASCADA_STORE, or in a PG* variable, is not valid; check the files and "
            "values that it names."
        ) from None
    except (asyncpg.InterfaceError, asyncpg.InternalClientError):
        raise StoreUnavailableError(_SENTENCES["08"]) from None


def _sentence(state: str) -> str:
    for length in (5, 3, 2):
        if state[:length] in _SENTENCES:
            return _SENTENCES[state[:length]]
    return f"PostgreSQL failed in an unexpected way (SQLSTATE {state})."
