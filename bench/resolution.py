"""What a request costs before anything is called: resolution, digest, and conversion, alone.

Twelve fields come from five layers: the request, the preferences, the tenant, the file and the
environment; what they leave open is built in.
"""

import json
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

from cascada.config.v1 import model_configuration_pb2, model_preferences_pb2
from cascada.config.v1.model_provider_pb2 import MODEL_PROVIDER_MISTRAL
from rich.table import Table

from bench.pages import PERFORMANCE, publish
from config_core.convert import to_wire
from config_core.convert_effective import effective_to_wire
from config_core.convert_provenance import incoming, provenance_to_wire
from config_core.forward import forward
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshot, Snapshots
from config_core.sources import environment

TENANT = "acme"
ROUNDS, CALLS = 20, 500

_ENVIRON = {
    "OPENAI_API_KEY": "sk-bench-0123456789",
    "MISTRAL_API_KEY": "ms-bench-0123456789",
    "CASCADA_CHAT_PROVIDER": "openai",
    "CASCADA_TIMEOUT_SECONDS": "30",
    "CASCADA_RETRY_ATTEMPTS": "2",
}
_FILE = {
    "defaults": {"top_p": 0.9, "presence_penalty": 0.1},
    "tenants": {
        TENANT: {"model_configuration": {"max_tokens": 800, "stop": ["END"], "seed": 7}},
    },
}


def main() -> None:
    """Measure, print the table and write it into the page."""
    snapshot = _snapshot()
    request = model_configuration_pb2.ModelConfiguration(
        chat_provider=MODEL_PROVIDER_MISTRAL,
        chat_model="mistral-small-latest",
        attempt_timeout_seconds=10,
        stall_timeout_seconds=5,
    )
    preferred = model_preferences_pb2.ModelPreferences(temperature=0.3)
    data = request.SerializeToString()
    sent = incoming(request, wire_preferences=preferred)

    def resolved() -> str:
        return snapshot.resolve("chat", TENANT, sent).require().digest

    effective = snapshot.resolve("chat", TENANT, sent).require()
    wire = effective_to_wire(effective)
    forwarded = forward([effective])
    table = Table(title="Alone, without a call", title_justify="left")
    for column in ("what", "µs, least", "µs, median"):
        table.add_column(column, justify="left" if column == "what" else "right")
    parse = model_configuration_pb2.ModelConfiguration.FromString
    for name, each in {
        "a request's layers, from its bytes": lambda: incoming(
            parse(data), wire_preferences=preferred
        ),
        "resolution with provenance and digest (target: 40)": resolved,
        "the effective configuration as a message": lambda: effective_to_wire(effective),
        "provenance for the next hop": lambda: provenance_to_wire(forwarded),
    }.items():
        least, median = _microseconds(each)
        table.add_row(name, f"{least:.1f}", f"{median:.1f}")
    sent_on = to_wire(forwarded.configuration), provenance_to_wire(forwarded)
    size = sum(message.ByteSize() for message in sent_on)
    table.add_row("configuration and sources to the next hop", f"{size} bytes", "")
    table.add_row("and in the answer's trace", f"{wire.ByteSize()} bytes", "")
    publish(PERFORMANCE, "resolution", table)


def _snapshot() -> Snapshot:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cascada.json"
        path.write_text(json.dumps(_FILE), encoding="utf-8")
        return Snapshots(path, environment.read(_ENVIRON), LocalSecrets(_ENVIRON)).current


def _microseconds(call: Callable[[], object]) -> tuple[float, float]:
    """The least and the median of some rounds; the least is what the machine's noise leaves."""
    times = sorted(timeit.repeat(call, number=CALLS, repeat=ROUNDS))
    return times[0] / CALLS * 1e6, times[ROUNDS // 2] / CALLS * 1e6


if __name__ == "__main__":
    main()
