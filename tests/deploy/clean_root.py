"""A root folder with this machine's system and Python in it, read-only, and nothing else of it.

It stands in for a container: mounts of its own and chroot are what an engine would use too. It
needs root.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc/ssl", "etc/alternatives", "dev", "proc")
_FILES = ("etc/resolv.conf", "etc/hosts", "etc/nsswitch.conf", "etc/ld.so.cache", "etc/pip.conf")
_TOOLS = ("/usr/bin/unshare", "/usr/bin/nsenter", "/usr/sbin/chroot")
_SYSTEMS_PREFIX = Path("/usr")
_PACKAGER = ("PIP_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy")

_LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))
"""


def why_not() -> str:
    """Why there can be no clean root here; empty if there can."""
    if os.geteuid() != 0:
        return "only root can change its root"
    if not all(Path(tool).exists() for tool in _TOOLS):
        return f"this machine lacks one of {', '.join(_TOOLS)}"
    if Path(sys.base_prefix) == _SYSTEMS_PREFIX:
        return "this Python is the system's own, and an image's stands in a folder of its own"
    command = ["/usr/bin/unshare", "--mount", "--net", "/usr/bin/mount", "-t", "tmpfs", "t", "/mnt"]
    done = subprocess.run(command, capture_output=True, check=False)
    return "" if done.returncode == 0 else "this machine lets nobody mount"


class CleanRoot:
    """The folder, and the namespace in which its mounts are seen."""

    def __init__(self, folder: Path, *, network: bool) -> None:
        """Without `network` there is a loopback interface of its own, and no other."""
        self.folder = folder
        self._network = network
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(mode=0o755, exist_ok=True)
        for name in ("tmp", "etc"):
            self.path(name).mkdir(exist_ok=True)
        self.path("tmp").chmod(0o1777)
        script = ["set -e", f"mount --bind {self.folder} {self.folder}"]
        for name in _SYSTEM:
            at, own = Path("/", name), self.path(name)
            if at.is_symlink() and "/" not in name:
                own.symlink_to(at.readlink())
            elif at.is_dir():
                own.mkdir(parents=True, exist_ok=True)
                script.append(f"mount --rbind {at} {own}")
                if name not in ("dev", "proc"):
                    script.append(f"mount -o remount,bind,ro {own}")
        # Where the official images have their Python.
        local = self.path("usr/local")
        script.append(f"mount --bind -o ro {sys.base_prefix} {local}")
        script.append(f"mount -o remount,bind,ro {local}")
        for name in _FILES:
            if Path("/", name).exists():
                self.path(name).write_bytes(Path("/", name).read_bytes())
        script.append("echo ready; exec sleep infinity")
        unshare = ["/usr/bin/unshare", "--mount", *([] if self._network else ["--net"])]
        self._holder = subprocess.Popen(
            [*unshare, "/bin/sh", "-c", "\n".join(script)], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        if not self._network:
            self.run(["python3", "-c", _LOOPBACK_UP])
        return self

    def __exit__(self, *_: object) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            assert self._holder.stdout is not None
            self._holder.stdout.close()

    def path(self, inside: str) -> Path:
        """Where a path of the inside is, seen from outside."""
        return self.folder / inside.lstrip("/")

    def make_read_only(self, *, except_for: Sequence[str]) -> None:
        """Nothing can be written from here on, but to fresh folders in memory."""
        script = [f"mount -o remount,bind,ro {self.folder}"]
        for name in except_for:
            status = self.path(name).stat()
            options = f"mode={status.st_mode & 0o7777:o},uid={status.st_uid},gid={status.st_gid}"
            script.append(f"mount -t tmpfs -o {options} tmpfs {self.path(name)}")
        subprocess.run([*self._enter(), "/bin/sh", "-ec", "\n".join(script)], check=True)

    def run(
        self,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        user: str = "0:0",
        folder: str = "/",
    ) -> str:
        """Run a command to its end; its output. It must succeed."""
        done = self.result(command, environ, user=user, folder=folder)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def result(
        self,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        user: str = "0:0",
        folder: str = "/",
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            self._command(command, user=user, folder=folder),
            env=self._environ(environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def start(
        self, command: Sequence[str], environ: Mapping[str, str], user: str, log: Path
    ) -> "subprocess.Popen[bytes]":
        """Start a command; what it writes goes to `log`."""
        inside = self._command(command, user=user, folder="/")
        with log.open("wb") as file:
            return subprocess.Popen(inside, env=self._environ(environ), stdout=file, stderr=file)

    def _command(self, command: Sequence[str], *, user: str, folder: str) -> list[str]:
        inside = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, *command]
        chroot = ["/usr/sbin/chroot", f"--userspec={user}", "--groups=", str(self.folder)]
        return [*self._enter(), *chroot, *inside]

    def _enter(self) -> list[str]:
        assert self._holder is not None
        kinds = ["--mount", *([] if self._network else ["--net"])]
        return ["/usr/bin/nsenter", f"--target={self._holder.pid}", *kinds]

    def _environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        packager = {
            name: value
            for name, value in os.environ.items()
            if self._network and name.startswith(_PACKAGER)
        }
        own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LD_LIBRARY_PATH": "/usr/local/lib"}
        return {"HOME": "/tmp", **own, **packager, **environ}  # noqa: S108 # the inside's own
