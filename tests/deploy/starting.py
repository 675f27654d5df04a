"""Whether a service would start with what a deployment gives it: variables, files, mounts."""

from collections.abc import Mapping
from pathlib import Path

from config_core.settings import unknown_variables
from service_core.identity.tokens import digest_of
from service_core.process import Process, configure
from tests.unit.service_core.tls.certificates import Certificates

IMAGE = {"CASCADA_HOST": "0.0.0.0"}  # noqa: S104 # as in the image; nothing listens here
TOKEN = "cascada_agent"
IDENTITY = {"identity": {"tokens": {"agent": {"sha256": digest_of(TOKEN), "roles": ["service"]}}}}


async def would_start(environ: Mapping[str, str], mounts: Mapping[str, Path]) -> Process:
    """Put a process's parts together, identity and TLS being needed; `mounts` are its folders."""
    moved = dict(environ)
    for name, value in environ.items():
        for target, folder in mounts.items():
            if value.startswith(f"{target}/"):
                moved[name] = str(folder / value.removeprefix(f"{target}/"))
    assert unknown_variables(moved) == []
    settings, snapshots = configure({**IMAGE, **moved})
    process = Process.of(settings, snapshots)
    await process.guard.aclose()
    await process.limiter.aclose()
    return process


def tls_secret(folder: Path) -> Path:
    """A folder as a mounted Secret of the type kubernetes.io/tls with its authority is one."""
    folder.mkdir()
    files = Certificates(folder).server()
    Path(files["CASCADA_TLS_CERT_FILE"]).rename(folder / "tls.crt")
    Path(files["CASCADA_TLS_KEY_FILE"]).rename(folder / "tls.key")
    (folder / "ca.pem").rename(folder / "ca.crt")
    return folder
