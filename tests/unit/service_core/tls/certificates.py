"""Certificates for tests, as files that a test can replace."""

from pathlib import Path

from cli.authority import Authority, Pair
from config_core.settings import Settings

HOSTS = ("localhost", "127.0.0.1")


class Certificates:
    """A folder with what a server and a client have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(1)
        self.trust(self.authority)
        self.renew("server")
        self.renew("client")

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.folder / name

    def trust(self, *authorities: Authority) -> None:
        """Write ca.pem anew."""
        content = b"".join(authority.pair.certificate for authority in authorities)
        self.path("ca.pem").write_bytes(content)

    def renew(self, name: str, authority: Authority | None = None) -> Pair:
        """Write server.pem and server.key, or those of the client, anew."""
        hosts = HOSTS if name == "server" else ()
        pair = (authority or self.authority).issue(name, hosts)
        self.path(f"{name}.pem").write_bytes(pair.certificate)
        self.path(f"{name}.key").write_bytes(pair.key)
        return pair

    def server(self, *, mutual: bool = False) -> dict[str, str]:
        """The variables of a server."""
        variables = {
            "CASCADA_TLS_CERT_FILE": str(self.path("server.pem")),
            "CASCADA_TLS_KEY_FILE": str(self.path("server.key")),
        }
        if mutual:
            variables["CASCADA_TLS_CLIENT_CA_FILE"] = str(self.path("ca.pem"))
        return variables

    def client(self, *, shows: bool = False) -> dict[str, str]:
        """The variables of who calls it."""
        variables = {"CASCADA_TLS_CA_FILE": str(self.path("ca.pem"))}
        if shows:
            variables["CASCADA_TLS_CLIENT_CERT_FILE"] = str(self.path("client.pem"))
            variables["CASCADA_TLS_CLIENT_KEY_FILE"] = str(self.path("client.key"))
        return variables


def settings(*parts: dict[str, str]) -> Settings:
    """The settings that the variables make."""
    return Settings.read({name: value for part in parts for name, value in part.items()})
