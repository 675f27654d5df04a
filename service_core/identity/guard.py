"""The guard at the entrance: who calls, and whether that caller may call this."""

from dataclasses import dataclass
from typing import Any

import grpc

from config_core.errors import PermissionDeniedError, UnauthenticatedError
from config_core.identity import Access, Grant, IdentityRules, Role
from config_core.snapshot import Snapshots
from service_core.identity import certificates, tokens
from service_core.identity.access import access_of
from service_core.identity.caller import Caller
from service_core.identity.signed_tokens import SignedTokens

_NOBODY_KNOWN = IdentityRules()

_Context = grpc.aio.ServicerContext[Any, Any]


class NotServedError(Exception):
    """The operator has switched off what is called."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A caller that is known, before what it calls."""

    caller: Caller
    roles: frozenset[Role]
    """Those of which it needs one."""

    def check(self) -> None:
        """Raise PermissionDeniedError for a caller that has none of the roles."""
        if self.caller.roles & self.roles:
            return
        if not self.roles:
            raise PermissionDeniedError("This call is open to nobody.")
        needed = " or ".join(sorted(self.roles))
        raise PermissionDeniedError(
            f"This call takes an identity with the role {needed}: ask the operator for one.",
            metadata={"roles": needed},
        )


class Guard:
    """Decides over each call by the rules of the snapshot in force."""

    def __init__(self, snapshots: Snapshots, *, required: bool = False) -> None:
        """`required` keeps identity on even where the file says nothing of it: nobody gets in."""
        self._snapshots = snapshots
        self._required = required
        self._signed = SignedTokens()
        self.own_token = tokens.new_token()
        """By which the services of this process know one another; it never leaves the process."""
        self._own_digest = tokens.digest_of(self.own_token)
        self._own = Caller("this process", None, frozenset({Role.CALLER, Role.SERVICE}))

    async def identify(self, method: str, context: _Context) -> "Pass | None":
        """Who calls, and which roles the call takes; None where it takes no identity.

        Raises:
            UnauthenticatedError: Nobody that the rules know.
            NotServedError: The operator has switched it off.
        """
        rules = self._rules()
        if rules is None:
            return None
        access, roles = access_of(method, rules)
        if access is Access.OPEN:
            return None
        if access is Access.OFF:
            raise NotServedError
        return Pass(await self._identified(rules, context), roles)

    async def aclose(self) -> None:
        """Ends what is under way."""
        await self._signed.aclose()

    def _rules(self) -> IdentityRules | None:
        rules = self._snapshots.current.document.identity
        return _NOBODY_KNOWN if rules is None and self._required else rules

    async def _identified(self, rules: IdentityRules, context: _Context) -> Caller:
        token = tokens.bearer_of(context.invocation_metadata() or ())
        if token is not None:
            # Whoever sends a token is judged by it, whatever the connection's certificate says.
            caller = await self._by_token(token, rules)
        else:
            caller = self._by_certificate(context, rules)
        if caller is None:
            raise UnauthenticatedError
        return caller

    async def _by_token(self, token: str, rules: IdentityRules) -> Caller | None:
        digest = tokens.digest_of(token)
        known = {name: entry.sha256 for name, entry in rules.tokens.items()}
        name = tokens.find(digest, known)
        if tokens.find(digest, {"own": self._own_digest}) is not None:
            return self._own
        if name is not None:
            return _granted(f"token {name}", rules.tokens[name])
        if rules.issuers and token.count(".") == 2:
            return await self._signed.caller_of(token, rules)
        return None

    def _by_certificate(self, context: _Context, rules: IdentityRules) -> Caller | None:
        if not rules.certificates:
            return None
        name = certificates.find(context.auth_context(), rules.certificates)
        return _granted(f"certificate {name}", rules.certificates[name]) if name else None


def _granted(name: str, grant: Grant) -> Caller:
    return Caller(name, grant.tenant, frozenset(grant.roles))
