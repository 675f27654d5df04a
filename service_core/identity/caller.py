"""Who calls, where every part of the handler finds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from config_core.identity import Role


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity that was established."""

    name: str
    """What it is called in logs, such as `token web` or `issuer corp: alice`."""
    tenant: str | None
    """The tenant that it acts for; None for one with the role service that names none."""
    roles: frozenset[Role]

    @property
    def speaks_for_all(self) -> bool:
        """Whether it may name any tenant, and where a value comes from."""
        return Role.SERVICE in self.roles


_current: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current() -> Caller | None:
    """Who called the RPC that runs; None where identity is off."""
    return _current.get()


def is_operator() -> bool:
    """Whether who called the RPC that runs is known to be an operator."""
    caller = _current.get()
    return caller is not None and Role.OPERATOR in caller.roles


@contextmanager
def acting(caller: Caller) -> Iterator[None]:
    """Makes a caller the current one for the block."""
    token = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(token)
