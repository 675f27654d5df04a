"""The names of the conventions are those of OpenTelemetry's own package."""

import ast
from pathlib import Path
from typing import get_args

import pytest
from opentelemetry import semconv

from config_core.model_configuration import ConnectionKind, ModelProvider
from service_core.telemetry.gen_ai import OPERATIONS, PROVIDERS, server_of
from service_core.telemetry.otel_metrics import _NAMES

ROOT = Path(__file__).parents[4] / "service_core"
WRITTEN = (
    ROOT / "telemetry" / "gen_ai.py",
    ROOT / "telemetry" / "calls.py",
    ROOT / "interceptors" / "hop_span.py",
)
CONVENTIONS = ("gen_ai.", "rpc.", "server.", "http.", "error.")
SEMCONV = Path(str(semconv.__path__[0]))


def texts_of(path: Path) -> set[str]:
    """The texts in a module of Python, without reading more of it than its syntax."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {value for value in values if isinstance(value, str)}


def known(folder: str) -> set[str]:
    """What the package names, be it stable or not."""
    return set().union(*(texts_of(path) for path in SEMCONV.glob(f"**/{folder}/*.py")))


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_attribute_is_one_of_opentelemetrys(path: Path) -> None:
    ours = {text for text in texts_of(path) if text.startswith(CONVENTIONS) and " " not in text}
    assert ours
    assert ours <= known("attributes")


def test_every_metric_is_one_of_opentelemetrys() -> None:
    assert set(_NAMES.values()) <= known("metrics")


def test_every_provider_and_operation_has_its_name() -> None:
    assert set(PROVIDERS) == set(ModelProvider)
    assert set(OPERATIONS) == set(get_args(ConnectionKind))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", {}),
        ("https://api.openai.com/v1", {"server.address": "api.openai.com", "server.port": 443}),
        (
            "http://user:canary@10.0.0.7:8080/v1?key=canary",
            {"server.address": "10.0.0.7", "server.port": 8080},
        ),
    ],
)
def test_a_server_is_host_and_port_alone(url: str, expected: dict[str, object]) -> None:
    assert server_of(url) == expected
