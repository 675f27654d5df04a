"""Keys of fifty tenants in every place that may hold one: each comes to where it belongs alone."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.tenant_callers import Checking, Tenants
from tests.faults.tenant_keys import PLACES, TENANTS, Keys, ManyCanaries
from tests.faults.tenant_plans import KINDS, REFUSED, Plans
from tests.system.asking import base_urls
from tests.system.cluster import Cluster
from tests.upstream.server import UpstreamServer

FEWEST_ARRIVALS = 0.6
"""Of a hundred requests, those that come to the upstream, the refused ones aside."""


@dataclass(frozen=True)
class Scale:
    """How much is sent, and by what the providers are called."""

    requests: int
    transport: str = "lean"
    forward: bool = False
    """Whether agent execution sends the keys along that it resolves."""

    def __str__(self) -> str:
        along = ", keys sent along" if self.forward else ""
        return f"{self.requests} requests, {self.transport}{along}"


SCALES = [
    Scale(500),
    pytest.param(Scale(5_000), marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    pytest.param(
        Scale(5_000, "sdk", forward=True), marks=[pytest.mark.full, pytest.mark.timeout(1800)]
    ),
]


@dataclass(frozen=True)
class Outcome:
    """What was seen."""

    scale: Scale
    tenants: Tenants
    files: int
    """Files that the services left, logs and audit among them."""
    audit: str

    @property
    def figures(self) -> str:
        """One line of it."""
        checking = self.tenants.checking
        return (
            f"{self.scale}: {len(checking.canaries.secrets)} keys, {len(checking.arrived)} of them "
            f"seen by the upstream in {checking.arrived.total()} requests; "
            f"{self.tenants.cancelled} cancelled"
        )


@pytest.fixture(scope="module", params=SCALES, ids=str)
def outcome(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    figures: Callable[[str], None],
) -> Outcome:
    """Run it once for all the tests."""
    outcome = asyncio.run(_run(request.param, tmp_path_factory.mktemp("tenants")))
    figures(outcome.figures)
    return outcome


def test_a_key_comes_to_no_other_place_and_for_no_other_tenant(outcome: Outcome) -> None:
    assert outcome.tenants.checking.wrong == []


def test_a_key_is_found_nowhere_else(outcome: Outcome) -> None:
    assert outcome.tenants.checking.canaries.leaks() == []
    assert outcome.files > 3


def test_nobody_gets_the_answer_of_another(outcome: Outcome) -> None:
    assert outcome.tenants.wrong == []


def test_keys_of_every_kind_are_used(outcome: Outcome) -> None:
    """Else nothing would have been shown of them."""
    checking = outcome.tenants.checking
    expected = {name for plan in checking.plans.values() for name in plan.expected.values()}
    missing = expected - set(checking.arrived)
    assert {_kind(name) for name in expected} == {_kind(name) for name in checking.arrived} - {
        "an unknown key"
    }
    assert len(missing) < (1 - FEWEST_ARRIVALS) * len(expected), sorted(missing)
    if outcome.scale.requests > len(KINDS) * TENANTS * len(PLACES):
        assert sorted(missing) == []


def test_what_is_another_tenants_is_refused(outcome: Outcome) -> None:
    codes = outcome.tenants.codes
    refusals = {(kind, code) for kind, code in codes if kind in REFUSED}
    assert refusals == {
        ("foreign secret", "INVALID_ARGUMENT"),
        ("foreign tenant", "PERMISSION_DENIED"),
    }


def test_no_request_is_a_fault_of_the_services(outcome: Outcome) -> None:
    found = {code for _, code in outcome.tenants.codes}
    assert not found & {"INTERNAL", "UNKNOWN", "UNAUTHENTICATED"}
    assert {kind for kind, code in outcome.tenants.codes if code == "OK"} == {*KINDS} - REFUSED
    assert outcome.tenants.cancelled > outcome.scale.requests // 20


def test_every_request_has_its_line_in_the_audit(outcome: Outcome) -> None:
    lines = [json.loads(line) for line in outcome.audit.splitlines()]
    entered = [line for line in lines if line["entry"]]
    assert len(entered) >= outcome.scale.requests
    assert {line["tenant"] for line in entered} >= {f"tenant-{n}" for n in range(TENANTS)}


async def _run(scale: Scale, folder: Path) -> Outcome:
    operator, own = folder / "operator", folder / "services"
    operator.mkdir()
    own.mkdir()
    canaries = ManyCanaries()
    keys = Keys(canaries, operator)
    async with UpstreamServer() as upstream:
        path = operator / "cascada.json"
        path.write_text(json.dumps(keys.document(upstream)), encoding="utf-8")
        environ = {
            "CASCADA_CONFIG_FILE": str(path),
            "CASCADA_FINGERPRINT_KEY": canaries["fingerprint"],
            "CASCADA_FORWARD_CREDENTIALS": str(int(scale.forward)),
            "CASCADA_PROVIDER_TRANSPORT": scale.transport,
            # The SDKs' own switches, under which they log requests.
            "OPENAI_LOG": "debug",
            "GROQ_LOG": "debug",
            "MISTRAL_DEBUG": "1",
            "CASCADA_AUDIT_FILE": str(own / "audit.log"),
            "CASCADA_AUDIT_CONTENT": "1",
        }
        keys.make()
        checking = upstream.choose = Checking(upstream, canaries)
        async with Cluster(own, {**base_urls(upstream), **keys.environ, **environ}) as cluster:
            program = await cluster.serve_all()
            tenants = Tenants(cluster, checking, Plans(keys))
            await tenants.fill(scale.requests)
            await tenants.send(scale.requests)
            assert await program.stop() == 0
    files = canaries.saw_files(own)
    return Outcome(scale, tenants, files, (own / "audit.log").read_text(encoding="utf-8"))


def _kind(name: str) -> str:
    return name.partition(" ")[0]
