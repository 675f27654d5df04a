"""`docs/security.md` names tests that there are, and shows configuration that is taken."""

import json
import re
from pathlib import Path

from config_core.configuration_file import ConfigurationFile

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

_TEST = re.compile(r"`([a-z_/]*\.py)?::(test_\w+)`")
_EXAMPLE = re.compile(r"```json\n(.*?)```", re.DOTALL)


def rows() -> list[str]:
    table = PAGE.partition("| threat |")[2].partition("\n\n")[0]
    return table.splitlines()[2:]


def test_every_threat_has_tests_that_exist() -> None:
    assert rows()
    for row in rows():
        file = ""
        found = _TEST.findall(row)
        assert found, row
        for given, name in found:
            file = given or file
            text = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"def {name}\b", text), f"{file}::{name}"


def test_every_example_of_the_file_is_taken() -> None:
    examples = [json.loads(text) for text in _EXAMPLE.findall(PAGE)]
    files = [example for example in examples if "service" not in example]
    assert len(files) == 3
    for example in files:
        ConfigurationFile.model_validate(example)
