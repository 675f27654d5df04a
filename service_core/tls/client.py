"""TLS of calls to other services: whom to trust, and what to show."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import grpc
import structlog

from config_core.errors import ConfigurationFileError
from config_core.settings import Settings
from service_core.tls import pem

_log = structlog.stdlib.get_logger(__name__)


class ClientTls:
    """The files in force. A set that does not fit together changes nothing."""

    def __init__(self, files: pem.Files, server_name: str = "") -> None:
        """Reads the files; ConfigurationFileError for what is wrong with them."""
        self._files = files
        self._material = pem.read(files)
        self.server_name = server_name

    @classmethod
    def of(cls, settings: Settings) -> "ClientTls | None":
        """As the settings say; None for calls in plain text."""
        files = pem.Files(
            certificate=("CASCADA_TLS_CLIENT_CERT_FILE", settings.tls_client_cert_file),
            key=("CASCADA_TLS_CLIENT_KEY_FILE", settings.tls_client_key_file),
            authorities=("CASCADA_TLS_CA_FILE", settings.tls_ca_file),
        )
        if not files.paths and not settings.tls:
            return None
        return cls(files, settings.tls_server_name)

    @property
    def paths(self) -> Sequence[Path]:
        """The files to watch."""
        return self._files.paths

    def credentials(self) -> grpc.ChannelCredentials:
        """Credentials of one channel; they stay as they are."""
        return grpc.ssl_channel_credentials(
            root_certificates=self._material.authorities,
            private_key=self._material.key,
            certificate_chain=self._material.certificate,
        )

    async def reload(self) -> bool:
        """Read the files again; tells whether they have changed."""
        try:
            material = await asyncio.to_thread(pem.read, self._files)
        except ConfigurationFileError as error:
            _log.error("certificates of calls refused, the last good serve", problem=str(error))
            return False
        changed = material != self._material
        self._material = material
        return changed
