import sys
from contextlib import AsyncExitStack
from types import ModuleType

import pytest

from cli import services
from cli.exits import CommandError
from config_core.model_configuration import ModelConfiguration
from config_core.secrets import LocalSecrets
from config_core.settings import Settings
from config_core.snapshot import Snapshots
from config_core.sources.environment import Environment
from service_core.process import Process
from service_core.server import GrpcServer


def _process(settings: Settings) -> Process:
    snapshots = Snapshots(None, Environment(ModelConfiguration(), {}), LocalSecrets({}))
    return Process.of(settings, snapshots)


@pytest.fixture
def own() -> dict[str, frozenset[str]]:
    """The targets that each service is told are its own process's."""
    return {}


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch, own: dict[str, frozenset[str]]) -> dict[str, Settings]:
    """The settings that each service is built with; none listens."""
    told: dict[str, Settings] = {}
    for port, name in enumerate(services.NAMES, start=1):
        module = ModuleType(name)

        async def build(
            process: Process, _stack: AsyncExitStack, name: str = name, port: int = port
        ) -> GrpcServer:
            told[name] = process.settings
            own[name] = frozenset(process.own)
            return GrpcServer(process.settings.host, port)

        module.build = build  # type: ignore[attr-defined]
        package = name.replace("-", "_")
        monkeypatch.setitem(sys.modules, f"{package}.app", module)
    return told


async def _build_all(settings: Settings) -> list[str]:
    started: list[str] = []
    async with AsyncExitStack() as stack:
        for build in services.builds(services.NAMES, lambda name, _: started.append(name)):
            await build(_process(settings), stack)
    return started


async def test_each_service_is_told_where_those_before_it_listen(
    seen: dict[str, Settings],
) -> None:
    assert await _build_all(Settings(host="0.0.0.0", allow_insecure=True)) == list(services.NAMES)  # noqa: S104
    assert seen["query"].embedding_target == "127.0.0.1:1"
    assert seen["agent-execution"].query_target == "127.0.0.1:2"


async def test_each_service_is_told_which_of_them_are_in_its_own_process(
    own: dict[str, frozenset[str]],
) -> None:
    await _build_all(Settings(query_target="elsewhere:9"))
    assert own == {
        "embedding": frozenset(),
        "query": frozenset({"127.0.0.1:1"}),
        "agent-execution": frozenset({"127.0.0.1:1"}),
    }


async def test_a_target_of_the_environment_stays(seen: dict[str, Settings]) -> None:
    await _build_all(Settings(embedding_target="elsewhere:9"))
    assert seen["query"].embedding_target == "elsewhere:9"


async def test_a_store_that_is_unknown_is_one_sentence(seen: dict[str, Settings]) -> None:
    with pytest.raises(CommandError, match=r"can't be opened \(CASCADA_STORE\): "):
        await _build_all(Settings(store="nosuch://x"))
    assert "query" not in seen


@pytest.mark.parametrize(
    ("host", "target"),
    [("127.0.0.1", "127.0.0.1:7"), ("0.0.0.0", "127.0.0.1:7"), ("::", "[::1]:7")],  # noqa: S104
)
def test_a_server_is_reached_from_this_machine(host: str, target: str) -> None:
    assert services.address(_Listening(host)) == target  # type: ignore[arg-type]


class _Listening:
    port = 7

    def __init__(self, host: str) -> None:
        self.host = host
