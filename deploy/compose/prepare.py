"""Makes what the services of compose.yaml need to start: certificates, tokens, configuration.

What is there is kept; the configuration is written anew, which running services take over.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVICES = ("agent-execution", "query", "embedding")
CALLER = "callers"
ROLES = {
    "agent-execution": ("service",),
    "query": ("service",),
    CALLER: ("caller", "indexer", "operator"),
}


def main(folder: Path, configuration: Path) -> None:
    """Fill one folder for each service, and one for callers; each holds nothing of another's."""
    entries = {name: token(folder / name, name, roles) for name, roles in ROLES.items()}
    certificates(folder)
    document = json.loads(configuration.read_text(encoding="utf-8"))
    document.setdefault("identity", {}).setdefault("tokens", {}).update(entries)
    for name in SERVICES:
        write(folder / name / "cascada.json", json.dumps(document, indent=2))


def token(folder: Path, name: str, roles: tuple[str, ...]) -> Any:
    """The configuration's entry of a caller, whose token stands beside it."""
    entry = folder / "token.json"
    if not entry.exists():
        tenant = ["--tenant", "default"] if name == CALLER else []
        chosen = [word for role in roles for word in ("--role", role)]
        made = json.loads(cascada("token", "new", "--name", name, *tenant, *chosen, "--json"))
        write(folder / "token", made["token"])
        write(entry, json.dumps(made["configuration"]["identity"]["tokens"][name]))
    return json.loads(entry.read_text(encoding="utf-8"))


def certificates(folder: Path) -> None:
    """A certificate for each service, and the authority's own."""
    if all((folder / name / "tls.key").exists() for name in SERVICES):
        return
    made = folder / "made"
    if not made.exists():
        cascada("certs", str(made))
    for name in (*SERVICES, CALLER):
        write(folder / name / "ca.pem", (made / "ca.pem").read_text(encoding="utf-8"))
        if name != CALLER:
            for kind in ("pem", "key"):
                text = (made / f"{name}.{kind}").read_text(encoding="utf-8")
                write(folder / name / f"tls.{kind}", text)


def write(path: Path, text: str) -> None:
    """Write a file that nobody else reads, in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def cascada(*arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
