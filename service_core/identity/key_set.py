"""An issuer's public keys, from a file or an https address, kept as long as they are good."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import structlog

_log = structlog.stdlib.get_logger(__name__)

FETCH_SECONDS = 5.0
"""How long a call waits for keys that have to be fetched."""
MAX_KEYS = 100


class KeySetError(Exception):
    """The keys can't be had. The message names what is wrong, for the operator's log."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key, and what it may verify."""

    kid: str | None
    key: Any
    algorithms: frozenset[str]


Load = Callable[[], Sequence[PublicKey] | None]
"""Reads the keys, in a thread; None where nothing has changed. Raises KeySetError."""


class KeySet:
    """The keys of one origin. What can't be read again stays as it was last read."""

    def __init__(
        self, place: str, load: Load, *, every: float | None, at_most_every: float
    ) -> None:
        """Nothing is read yet.

        Args:
            place: The file or address, for the log.
            load: Reads it.
            every: Seconds after which it is read again, while the keys that are there still serve;
                None reads it again before each use.
            at_most_every: Seconds that pass at least between two attempts.
        """
        self._place = place
        self._load = load
        self._every = every
        self._at_most_every = at_most_every
        self._keys: Sequence[PublicKey] = ()
        self._attempted: float | None = None
        self._refresh: asyncio.Task[None] | None = None
        self._told = ""

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """The key of that name, or the only one where a token names none."""
        age = self._age()
        if self._every is None or not self._keys:
            await self._refreshed()
        elif age is None or age >= self._every:
            self._start()
        found = self._among_known(kid, algorithm)
        if found is None and self._every is not None:
            # A new key signs before everybody has heard of it.
            await self._refreshed()
            found = self._among_known(kid, algorithm)
        return found

    async def aclose(self) -> None:
        """Ends what is under way."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.wait([self._refresh])

    def _among_known(self, kid: str | None, algorithm: str) -> PublicKey | None:
        if kid is None:
            fitting: Sequence[PublicKey] = self._keys if len(self._keys) == 1 else ()
        else:
            fitting = [key for key in self._keys if key.kid == kid]
        return next((key for key in fitting if algorithm in key.algorithms), None)

    def _age(self) -> float | None:
        return None if self._attempted is None else time.monotonic() - self._attempted

    async def _refreshed(self) -> None:
        """Waits for an attempt that is under way or due; a caller that goes away ends none."""
        task = self._start()
        if task is not None:
            await asyncio.wait([task], timeout=FETCH_SECONDS)

    def _start(self) -> "asyncio.Task[None] | None":
        if self._refresh is not None and not self._refresh.done():
            return self._refresh
        age = self._age()
        if age is not None and age < self._at_most_every:
            return None
        self._attempted = time.monotonic()
        self._refresh = asyncio.create_task(self._read(), name="key-set")
        return self._refresh

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                keys = await asyncio.to_thread(self._load)
        except (KeySetError, TimeoutError) as error:
            why = str(error) or f"no answer within {FETCH_SECONDS:g} s"
            if why != self._told:
                _log.error(
                    "issuer's keys refused, the last good ones serve", place=self._place, why=why
                )
            self._told = why
            return
        if keys is not None:
            self._keys, self._told = keys, ""


def parse(document: object) -> list[PublicKey]:
    """The usable keys of a JSON Web Key Set; raises KeySetError where it is none."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError("is not a JSON Web Key Set")
    if len(entries) > MAX_KEYS:
        raise KeySetError(f"holds more than {MAX_KEYS} keys")
    return [key for entry in entries if (key := _key(entry)) is not None]


def _key(entry: object) -> PublicKey | None:
    """A public key that is there to verify signatures; None for any other."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if entry.get("kty") not in ("RSA", "EC", "OKP") or "d" in entry:
        return None  # a shared secret, or a private key, which has no place there
    try:
        found = jwt.PyJWK(entry)
    except jwt.PyJWTError:
        return None
    kid = entry.get("kid")
    algorithms = {found.algorithm_name}
    if entry["kty"] == "RSA" and "alg" not in entry:
        algorithms = {f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512)}
    return PublicKey(kid if isinstance(kid, str) else None, found.key, frozenset(algorithms))
