"""How this process reaches other services: over TLS or not, and as whom."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import structlog
from pydantic import SecretStr

from config_core.configuration_file import SecretOrigin
from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from config_core.secrets import LocalSecrets, SecretUnavailableError
from config_core.settings import Settings
from service_core.channel import create_channel, is_list, is_secure_or_local, is_socket
from service_core.client import NextService
from service_core.identified_channel import IdentifiedChannel
from service_core.tls import ClientTls
from service_core.watch import Watch

_log = structlog.stdlib.get_logger(__name__)


class OwnToken:
    """The token by which this process identifies itself; one that stands in a file is re-read."""

    def __init__(self, variable: str, value: SecretStr | None, path: Path | None = None) -> None:
        """`variable` names it in errors. ConfigurationFileError for what is wrong with it."""
        if value is not None and path is not None:
            raise _wrong(variable, f"stands beside {variable}_FILE: give one of them")
        self.variable = variable
        self._path = path
        self._value = value
        try:
            if path is not None:
                self._value = _read(path)
            elif value is not None:
                given = LocalSecrets({variable: value.get_secret_value()})
                self._value = given.read(SecretOrigin(env=variable))
        except SecretUnavailableError as error:
            raise _wrong(variable if path is None else f"{variable}_FILE", str(error)) from None

    @property
    def path(self) -> Path | None:
        """The file to watch."""
        return self._path

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return self._value is not None

    def current(self) -> str | None:
        """The token in force."""
        return None if self._value is None else self._value.get_secret_value()

    async def reload(self) -> None:
        """Read the file again; one that can't be read changes nothing."""
        if self._path is not None:
            try:
                self._value = await asyncio.to_thread(_read, self._path)
            except SecretUnavailableError as error:
                _log.error("token refused, the last good one serves", problem=str(error))


@dataclass(frozen=True)
class Outgoing:
    """Opens channels to other services, and keeps them up to date."""

    tls: ClientTls | None
    token: OwnToken
    allow_insecure: bool = False
    _channels: list[IdentifiedChannel] = field(default_factory=list)

    @classmethod
    def of_service(cls, settings: Settings) -> "Outgoing":
        """A service's, as the settings say; ConfigurationFileError for what is wrong with them."""
        token = OwnToken(
            "CASCADA_SERVICE_TOKEN", settings.service_token, settings.service_token_file
        )
        return cls(ClientTls.of(settings), token, settings.allow_insecure)

    @classmethod
    def of_command(cls, settings: Settings) -> "Outgoing":
        """A command's, as the settings say; ConfigurationFileError for what is wrong with them."""
        token = OwnToken("CASCADA_TOKEN", settings.token)
        return cls(ClientTls.of(settings), token, settings.allow_insecure)

    def channel(self, target: str) -> grpc.aio.Channel:
        """A channel to a service; the owner closes it.

        Raises:
            ConfigurationFileError: The token would travel in the open, or no certificate fits the
                target.
        """
        if self.token.is_set and not self.may_carry_keys(target):
            raise _wrong(
                self.token.variable,
                f"would travel unencrypted to {target}: set CASCADA_TLS_CA_FILE to the authority "
                "of its certificate, CASCADA_TLS=1 for a public one, or CASCADA_ALLOW_INSECURE=1",
            )
        tls = self._tls(target)
        if tls is not None and not tls.server_name and is_list(target):
            # gRPC looks for the whole list in the certificate.
            raise _wrong(
                "CASCADA_TLS_SERVER_NAME",
                f"is needed: {target} is several addresses, and this is the name that all their "
                "certificates carry",
            )
        channel = IdentifiedChannel(lambda: _open(target, tls), self.token.current)
        self._channels.append(channel)
        return channel

    def may_carry_keys(self, target: str) -> bool:
        """Whether keys and tokens may travel to a service."""
        tls = self._tls(target) is not None
        return is_secure_or_local(target, tls=tls, allow_insecure=self.allow_insecure)

    def next_service(self, name: str, target: str) -> NextService:
        """What the client of a service needs to know of it."""
        tls = self._tls(target) is not None
        return NextService(name, target, tls=tls, allow_insecure=self.allow_insecure)

    def keep_current(self, watch: Watch) -> None:
        """Have certificates and token read again when they change."""
        if self.tls is not None and self.tls.paths:
            watch.add(self.tls.paths, self._renew)
        if self.token.path is not None:
            watch.add([self.token.path], self.token.reload)

    async def _renew(self) -> None:
        if self.tls is not None and await self.tls.reload():
            self._channels[:] = [channel for channel in self._channels if not channel.is_closed]
            await asyncio.gather(*(channel.renew() for channel in self._channels))
            _log.info("certificates for calls changed")

    def _tls(self, target: str) -> ClientTls | None:
        return None if is_socket(target) else self.tls


def own_channel(target: str, token: str) -> grpc.aio.Channel:
    """A channel within this process, which its servers know by a token that never leaves it."""
    return IdentifiedChannel(lambda: create_channel(target), lambda: token)


def _open(target: str, tls: ClientTls | None) -> grpc.aio.Channel:
    if tls is None:
        return create_channel(target)
    return create_channel(target, tls=tls.credentials(), server_name=tls.server_name)


def _read(path: Path) -> SecretStr:
    return LocalSecrets({}).read(SecretOrigin(file=str(path)))


def _wrong(variable: str, why: str) -> ConfigurationFileError:
    return ConfigurationFileError(PLACE, [(variable, why)])
