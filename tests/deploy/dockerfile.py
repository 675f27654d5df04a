"""What a Dockerfile says, as instructions by stage."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    text: str

    @property
    def words(self) -> Sequence[str]:
        """The arguments of its exec or shell form."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


@dataclass(slots=True)
class Stage:
    """From one FROM to the next."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> Sequence[Instruction]:
        """Every instruction of a name."""
        return [found for found in self.instructions if found.name == name]

    def last(self, name: str) -> Instruction:
        """The one that is in force at the end."""
        return self.all(name)[-1]

    @property
    def environ(self) -> Mapping[str, str]:
        """What its ENV instructions set."""
        words = [word for found in self.all("ENV") for word in found.words]
        return {name: value for name, _, value in (word.partition("=") for word in words)}


def stages(path: Path = DOCKERFILE) -> Sequence[Stage]:
    """The stages of a Dockerfile, first to last."""
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    text = "\n".join(lines).replace("\\\n", " ")
    found: list[Stage] = []
    for line in filter(None, text.split("\n")):
        name, _, rest = line.partition(" ")
        rest = re.sub(r"\s{2,}", " ", rest.strip())
        if name == "FROM":
            found.append(Stage(rest.partition(" AS ")[2]))
        elif found:
            found[-1].instructions.append(Instruction(name, rest))
    return found
