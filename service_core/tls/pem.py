"""Reading certificates and keys, and telling a whole set from one that is still being written."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one side of a connection, each beside the variable that names it."""

    certificate: tuple[str, Path | None]
    key: tuple[str, Path | None]
    authorities: tuple[str, Path | None]

    @property
    def paths(self) -> list[Path]:
        """Those that are given."""
        every = (self.certificate, self.key, self.authorities)
        return [path for _, path in every if path is not None]


@dataclass(frozen=True, slots=True)
class Material:
    """What the files hold; None for what is not given."""

    certificate: bytes | None
    key: bytes | None = field(repr=False)
    authorities: bytes | None


def read(files: Files) -> Material:
    """What the files hold, whole and fitting.

    Raises:
        ConfigurationFileError: With the variable of the file that is wrong. Blocks.
    """
    certificate, key = _content(files.certificate), _content(files.key)
    authorities = _content(files.authorities)
    if (certificate is None) != (key is None):
        missing = files.certificate[0] if certificate is None else files.key[0]
        raise _wrong(missing, "is needed too: a certificate and its key belong together")
    if certificate is not None and key is not None:
        first = _certificates(files.certificate, certificate)[0]
        if _spki(first.public_key()) != _spki(_public_key(files.key, key)):
            raise _wrong(files.key[0], "is not the key of the certificate")
    if authorities is not None:
        _certificates(files.authorities, authorities)
    return Material(certificate, key, authorities)


def _content(named: tuple[str, Path | None]) -> bytes | None:
    variable, path = named
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise _wrong(variable, f"{path}: {error.strerror or 'unreadable'}") from None


def _certificates(named: tuple[str, Path | None], data: bytes) -> list[x509.Certificate]:
    variable, path = named
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise _wrong(variable, f"{path} holds no certificate in PEM form") from None


def _public_key(named: tuple[str, Path | None], data: bytes) -> PublicKeyTypes:
    variable, path = named
    try:
        return load_pem_private_key(data, password=None).public_key()
    except TypeError:
        raise _wrong(variable, f"{path} is encrypted: give the key without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong(variable, f"{path} holds no private key in PEM form") from None


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _wrong(variable: str, why: str) -> ConfigurationFileError:
    return ConfigurationFileError(PLACE, [(variable, why)])
