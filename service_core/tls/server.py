"""TLS of this process's servers. gRPC asks for the certificate before every handshake."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import structlog

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from config_core.settings import Settings
from service_core.tls import pem

_log = structlog.stdlib.get_logger(__name__)


class ServerTls:
    """The certificate in force. A set of files that does not fit together changes nothing."""

    def __init__(self, files: pem.Files) -> None:
        """Reads the files; ConfigurationFileError for what is wrong with them."""
        self._files = files
        self._material = pem.read(files)
        self._configuration = _configuration(self._material)

    @classmethod
    def of(cls, settings: Settings) -> "ServerTls | None":
        """As the settings say; None for servers in plain text."""
        files = pem.Files(
            certificate=("CASCADA_TLS_CERT_FILE", settings.tls_cert_file),
            key=("CASCADA_TLS_KEY_FILE", settings.tls_key_file),
            authorities=("CASCADA_TLS_CLIENT_CA_FILE", settings.tls_client_ca_file),
        )
        if not files.paths:
            return None
        if settings.tls_cert_file is None:
            why = "is needed too: the other files are of a server with a certificate"
            raise ConfigurationFileError(PLACE, [(files.certificate[0], why)])
        return cls(files)

    @property
    def verifies_clients(self) -> bool:
        """Whether every client has to show a certificate."""
        return self._material.authorities is not None

    @property
    def paths(self) -> Sequence[Path]:
        """The files to watch."""
        return self._files.paths

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials of one server, which follow the certificate in force. TLS 1.2 at least."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            self._fetcher(),  # type: ignore[arg-type] # None stands for no change
            require_client_authentication=self.verifies_clients,
        )

    async def reload(self) -> None:
        """Read the files again."""
        try:
            material = await asyncio.to_thread(pem.read, self._files)
        except ConfigurationFileError as error:
            _log.error("certificate refused, the last good one serves", problem=str(error))
            return
        if material != self._material:
            self._material, self._configuration = material, _configuration(material)
            _log.info("certificate changed", file=str(self._files.certificate[1]))

    def _fetcher(self) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
        served = self._configuration

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            # In a thread of gRPC's, which waits: nothing is read here.
            nonlocal served
            if served is self._configuration:
                return None
            served = self._configuration
            return served

        return fetch


def _configuration(material: pem.Material) -> grpc.ServerCertificateConfiguration:
    assert material.key is not None
    assert material.certificate is not None
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.authorities
    )
