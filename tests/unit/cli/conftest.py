"""A command line that talks to a fake service."""

import os
from collections.abc import Iterator

import pytest

from tests.unit.cli.fake_services import CommandLine, FakeServices, serving


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("CASCADA_", "OPENAI_", "GROQ_", "MISTRAL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def cascada() -> Iterator[CommandLine]:
    fake = FakeServices()
    with serving(fake) as target:
        yield CommandLine(fake, target)
