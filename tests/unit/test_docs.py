"""`docs/providers.md` is what the code says, and what it rests on exists."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _generate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the generator of a copy of the documentation, over the project's code."""
    command = [sys.executable, str(folder / "docs" / "generate.py"), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The documentation beside the project's own tests."""
    for path in ("docs/generate.py", "docs/providers.md", "docs/source"):
        source = ROOT / path
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            target = tmp_path / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return tmp_path


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_page_is_what_the_code_says() -> None:
    done = _generate(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_told_and_then_written(copy: Path) -> None:
    _replace(copy / "docs" / "providers.md", "`random_seed`", "`seed`")
    assert "is stale" in _generate(copy, "--check").stderr
    assert _generate(copy).returncode == 0
    assert _generate(copy, "--check").returncode == 0


def test_a_rule_without_its_test_is_an_error(copy: Path) -> None:
    _replace(copy / "docs" / "source" / "rules.toml", "::test_a", "::test_of_nothing_a")
    done = _generate(copy, "--check")
    assert done.returncode == 1
    assert "test_of_nothing_a" in done.stderr


def test_an_example_that_would_be_refused_is_an_error(copy: Path) -> None:
    _replace(copy / "docs" / "source" / "providers.md", '"keyless"', '"needs_no_key"')
    done = _generate(copy, "--check")
    assert done.returncode == 1
    assert "needs_no_key" in done.stderr
