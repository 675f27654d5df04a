"""Where key sets are read from: a file, or an https address."""

import json
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

from config_core.identity import KeySetOrigin
from service_core.identity.key_set import FETCH_SECONDS, KeySet, KeySetError, PublicKey, parse

MAX_BYTES = 256 * 1024
MAX_AGE_SECONDS = 3600.0
"""After this time an address is asked again."""
UNKNOWN_KEY_SECONDS = 10.0
"""An address is asked for an unknown key no more often than this."""
FILE_SECONDS = 0.25
"""A file is looked at no more often than this."""

# Nothing compressed: a few bytes could become more than there is room for.
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}


def key_set_of(origin: KeySetOrigin) -> KeySet:
    """The key set of an origin; nothing is read yet."""
    if origin.file is not None:
        load = _File(Path(origin.file))
        return KeySet(origin.file, load, every=None, at_most_every=FILE_SECONDS)
    assert origin.url is not None
    address = _Address(origin.url, origin.ca_file)
    return KeySet(origin.url, address, every=MAX_AGE_SECONDS, at_most_every=UNKNOWN_KEY_SECONDS)


class _File:
    """A file, read when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None

    def __call__(self) -> Sequence[PublicKey] | None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            if status.st_size > MAX_BYTES:
                raise KeySetError(f"is larger than {MAX_BYTES} bytes")
            return _parsed(self._path.read_bytes())
        except OSError as error:
            self._stamp = None
            raise KeySetError(error.strerror or "is unreadable") from None


class _Address:
    """An https address: no redirect, no more than it may send, in no more time than it may take."""

    def __init__(self, url: str, ca_file: str | None) -> None:
        self._url = url
        self._ca_file = ca_file

    def __call__(self) -> Sequence[PublicKey]:
        import httpx  # noqa: PLC0415 # slow, and needed here alone, in a thread

        ends = time.monotonic() + FETCH_SECONDS
        try:
            trust = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
            with (
                httpx.Client(verify=trust, timeout=FETCH_SECONDS, follow_redirects=False) as client,
                client.stream("GET", self._url, headers=_HEADERS) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise KeySetError(f"answers {answer.status_code}")
                body = bytearray()
                for piece in answer.iter_raw():
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise KeySetError(f"sends more than {MAX_BYTES} bytes")
                    if time.monotonic() > ends:
                        raise KeySetError(f"takes longer than {FETCH_SECONDS:g} s")
        except (httpx.HTTPError, OSError, ssl.SSLError) as error:
            raise KeySetError(f"can't be fetched: {type(error).__name__}") from None
        return _parsed(bytes(body))


def _parsed(data: bytes) -> Sequence[PublicKey]:
    try:
        return parse(json.loads(data))
    except (ValueError, RecursionError):
        raise KeySetError("is not valid JSON") from None
