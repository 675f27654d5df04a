"""The settings of a service itself, not those of its models: ports, targets, paths, switches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from config_core.environ import EnvironmentModel
from config_core.secret_files import with_files
from config_core.sources.environment import PREFIX, ConfigurationVariables

Port = Annotated[int, Field(ge=0, le=65_535)]


def _host(value: str) -> str:
    """An address of IPv6 may stand in brackets, as in a URL."""
    bare = value.strip().removeprefix("[").removesuffix("]")
    if not bare:
        raise ValueError("must be an address or a name of this machine")
    return bare


Host = Annotated[str, AfterValidator(_host)]


def _target(value: str) -> str:
    target = value.strip()
    if target.lower().startswith(("http://", "https://")):
        raise ValueError("must be a gRPC target such as query:50052, without http:// before it")
    return target


Target = Annotated[str, AfterValidator(_target)]


def _log_level(value: str) -> str:
    if value.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("must be debug, info, warning or error")
    return value


LogLevel = Annotated[str, AfterValidator(_log_level)]


_LIMITS_SCHEMES = ("redis://", "rediss://", "unix://")


def _limits_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(_LIMITS_SCHEMES):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    try:
        urlsplit(value.get_secret_value()).port  # noqa: B018 # it is read on asking
    except ValueError:
        why = "must have a port from 0 to 65535, or none, and special characters as %XX"
        raise ValueError(why) from None
    return value


_FROM_FILES = ("CASCADA_STORE", "CASCADA_FINGERPRINT_KEY", "CASCADA_LIMITS_URL")

LimitsUrl = Annotated[SecretStr, AfterValidator(_limits_url)]
"""It may hold a password, and so is a secret."""


class Settings(EnvironmentModel):
    """One variable each, CASCADA_ and the field's name in capitals."""

    host: Host = "127.0.0.1"
    """Address to listen on."""
    agent_execution_port: Port = 50051
    """Port of the agent execution service; 0 takes a free one."""
    query_port: Port = 50052
    """Port of the query service; 0 takes a free one."""
    embedding_port: Port = 50053
    """Port of the embedding service; 0 takes a free one."""
    metrics_port: Port = 9464
    """Port of the Prometheus metrics; 0 takes a free one."""
    query_target: Target = ""
    """gRPC target of the query service; empty takes its host and port above."""
    embedding_target: Target = ""
    """gRPC target of the embedding service; empty takes its host and port above."""
    config_file: Path | None = None
    """The configuration file; none by default."""
    data_dir: Path = Path(".cascada")
    """Folder of what the services keep."""
    store: str = ""
    """URL of the vector store; empty takes a SQLite file in the data folder."""
    store_file: Path | None = None
    """File of that URL, which may hold a password; read when the service starts."""
    forward_credentials: bool = False
    """Whether to attach the operator's credential of a connection to the next hop's request."""
    fingerprint_key: SecretStr | None = None
    """Key of the fingerprints by which credentials are told apart; without it none are shown."""
    fingerprint_key_file: Path | None = None
    """File of that key; read when the service starts."""
    allow_insecure: bool = False
    """Whether keys may travel over unencrypted connections that are not loopback, and a server may
    listen beyond loopback without identity and TLS."""
    tls_cert_file: Path | None = None
    """Certificate of this process's servers, with what leads to its authority; makes them TLS."""
    tls_key_file: Path | None = None
    """Private key of that certificate."""
    tls_client_ca_file: Path | None = None
    """Authorities of client certificates; with it every client must show one."""
    tls: bool = False
    """Whether calls to other services use TLS; the next three make them do so too."""
    tls_ca_file: Path | None = None
    """Authorities of the servers that are called, instead of the public ones."""
    tls_client_cert_file: Path | None = None
    """Certificate to show to the servers that are called."""
    tls_client_key_file: Path | None = None
    """Private key of that certificate."""
    tls_server_name: str = ""
    """Name that the certificates of called servers carry; empty takes the one in their target."""
    service_token: SecretStr | None = None
    """Token by which this service identifies itself to the next one."""
    service_token_file: Path | None = None
    """File of that token; read again when it changes."""
    token: SecretStr | None = None
    """Token by which the commands identify themselves."""
    socket_dir: Path | None = None
    """Folder in which each service also listens on a unix socket, such as query.sock."""
    local_chat_model_path: Path | None = None
    """A GGUF file to serve as the local chat model instead of the bundled one."""
    max_context_tokens: Annotated[int, Field(ge=512)] = 8000
    """The most tokens of a prompt to a provider, passages included, by estimate."""
    prompt_template_file: Path | None = None
    """A text file with the template of the system message that passages are given in; built in."""
    nothing_found_answer: str = "The documents hold nothing about this question."
    """The answer where retrieval finds no passage."""
    provider_transport: Literal["lean", "sdk"] = "lean"
    """What speaks to the providers: `lean`, a client of our own, or `sdk`, each provider's own."""
    limits_url: LimitsUrl | None = None
    """Redis or Valkey in which processes count together what tenants use; in memory by default."""
    limits_url_file: Path | None = None
    """File of that URL, which may hold a password; read when the service starts."""
    limits_on_failure: Literal["open", "closed"] = "open"
    """What becomes of requests while that server is away: let in uncounted, or refused."""
    audit_file: Path | None = None
    """File that gets a line for each request, instead of the log."""
    audit_content: bool = False
    """Whether those lines hold what was asked and answered."""
    max_concurrent_requests: Annotated[int, Field(ge=1)] = 1000
    """How many requests each service of a process works on at once."""
    max_busy_requests: Annotated[int, Field(ge=1)] = 10
    """How many requests a process works on that do not wait for a provider or another process."""
    max_queued_requests: Annotated[int, Field(ge=1)] = 128
    """How many wait to begin at most; where the queue goes on growing, fewer do."""
    max_queue_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """How long one waits to begin before it is refused."""
    max_concurrent_indexing: Annotated[int, Field(ge=1)] = 4
    """How many of the requests that run may be writing documents."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """How many processes `cascada serve` answers with, all on the same ports."""
    settle_seconds: Annotated[float, Field(ge=0, le=600)] | None = None
    """How long a stopping service still answers, as NOT_SERVING, so that load balancers notice; 5
    by default, and 0 where it is heard on this machine alone."""
    grace_seconds: Annotated[float, Field(ge=0, le=600)] = 20.0
    """How long a stopping service waits for requests in flight after that."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings; raises ConfigurationFileError naming each variable that is wrong."""
        return cls.from_environ(with_files(environ, _FROM_FILES), PREFIX)

    @property
    def store_url(self) -> str:
        """Where the vector store is."""
        return self.store or f"sqlite:///{(self.data_dir / 'store.db').as_posix()}"

    @property
    def store_variable(self) -> str:
        """The variable that says where the store is, for who can't open it."""
        return f"{PREFIX}STORE" if self.store else f"{PREFIX}DATA_DIR"

    def target_of(self, service: str) -> str:
        """The gRPC target at which `query` or `embedding` is reached."""
        given: str = getattr(self, f"{service}_target")
        everywhere = self.host in ("0.0.0.0", "::")  # noqa: S104 # it is replaced
        host = "127.0.0.1" if everywhere else self.host
        shown = f"[{host}]" if ":" in host else host
        return given or f"{shown}:{getattr(self, f'{service}_port')}"


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """CASCADA_ variables that nothing reads: most likely typing errors."""
    known = Settings.variables(PREFIX) | ConfigurationVariables.variables(PREFIX)
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
