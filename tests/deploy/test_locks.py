"""The locked packages are whole on every Python that they may be installed on."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LOCKS = Path(__file__).parents[2] / "requirements"
_PYTHONS = ("3.11.0", "3.11.9", "3.12.0", "3.13.0")


def locked(name: str) -> set[str]:
    """The packages of a lock, and pip, which the environment has of itself."""
    lines = (_LOCKS / f"{name}.lock").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==", lines, re.MULTILINE)
    return {"pip"} | {canonicalize_name(name) for name in found}


@pytest.mark.parametrize("python", _PYTHONS)
@pytest.mark.parametrize("lock", ["dev", "runtime"])
def test_what_a_locked_package_needs_is_locked(lock: str, python: str) -> None:
    names = locked(lock)
    environment = {
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "extra": "",
    }
    missing = [
        f"{name} needs {needed}"
        for name in sorted(names - {"pip"})
        for needed in map(Requirement, requires(name) or ())
        if (not needed.marker or needed.marker.evaluate(environment))
        and canonicalize_name(needed.name) not in names
    ]
    assert not missing
