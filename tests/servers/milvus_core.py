"""The real Milvus core in one process, from the package `milvus` (2.3.5: no full text yet).

Its ports are free ones, though the core opens them on every address of the machine; its data is in
a temporary folder of its own. It ends with the process that started it, whatever becomes of that:
the package's own starter leaves it running.
"""

import os
from urllib.error import URLError
from urllib.request import urlopen

import milvus
from typing_extensions import override

from tests.servers.guarded import GuardedServer, free_port

# What a reader waits for who wants to see every write; 200 by default.
_TICK_MILLISECONDS = 10

_ETCD = "etcd.yaml"


class MilvusCoreServer(GuardedServer):
    """One server; `with` starts and stops it."""

    def __init__(self) -> None:
        super().__init__("milvus-core")
        self.port = free_port()
        self._health_port = free_port()

    @property
    def url(self) -> str:
        """Its URL for the store."""
        return f"milvus://127.0.0.1:{self.port}"

    @override
    def start(self) -> None:
        programs = self._folder / "bin"
        if not programs.exists():
            self._configure()
            milvus._initialize_data_files(str(self._folder))
        self._launch(
            [str(programs / "milvus"), "run", "standalone"],
            {
                **os.environ,
                "DEPLOY_MODE": "STANDALONE",
                "ETCD_CONFIG_PATH": str(self._folder / _ETCD),
                "LD_LIBRARY_PATH": str(programs),
                "METRICS_PORT": str(self._health_port),
                "MILVUS_RUN_DIR": str(self._folder / "run"),
            },
        )

    @override
    def answers(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._health_port}/healthz", timeout=5.0) as reply:
                return b"OK" in reply.read()
        except (URLError, OSError):
            return False

    def _configure(self) -> None:
        config = milvus.MilvusServerConfig(data_dir=str(self._folder))
        ports = {name: free_port() for name in config.configurable_items if name.endswith("_port")}
        config.update(**ports | {"proxy_port": self.port})
        config.set("proxy.timeTickInterval", _TICK_MILLISECONDS)
        config.resolve()
        client, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        (self._folder / _ETCD).write_text(
            f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
            f"listen-peer-urls: {peers}\ninitial-advertise-peer-urls: {peers}\n"
            f"initial-cluster: default={peers}\n"
        )
