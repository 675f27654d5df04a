"""A command line that talks to a fake service."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.__main__ import build

# Tests are no package: what they share is loaded by its path.
_SPEC = importlib.util.spec_from_file_location(
    "cli_fake_services", Path(__file__).with_name("fake_services.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
fake_services = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fake_services)


class CommandLine:
    """Runs commands against the fake services."""

    def __init__(self, fake: Any, target: str) -> None:
        self.fake = fake
        self.target = target

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        """Runs a command with --target."""
        return self.bare(*arguments, "--target", self.target, stdin=stdin)

    def bare(self, *arguments: str, stdin: str | None = None) -> Result:
        """Runs a command as it is given."""
        return CliRunner().invoke(build(arguments), list(arguments), input=stdin)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("CASCADA_", "OPENAI_", "GROQ_", "MISTRAL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def cascada() -> Iterator[CommandLine]:
    fake = fake_services.FakeServices()
    with fake_services.serving(fake) as target:
        yield CommandLine(fake, target)
