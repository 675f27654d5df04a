import os
from pathlib import Path

from pydantic import SecretStr

from config_core.configuration_file import SecretOrigin
from config_core.file_reader import parse
from config_core.known_secrets import REMEMBERED_SECONDS, SAME_SECONDS, KnownSecrets
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshot
from config_core.sources import environment


def snapshot(folder: Path) -> Snapshot:
    environ = {"OPENAI_API_KEY": "k-env", "MISTRAL_LAB": "k-lab", "CASCADA_CHAT_PROVIDER": "groq"}
    environ["CASCADA_CHAT_API_KEY"] = "k-layer"
    (folder / "acme").write_text("k-file\n")
    document = parse(
        {
            "tenants": {
                "acme": {
                    "model_configuration": {
                        "chat_provider": "openai",
                        "chat_api_key": "k-tenant",
                        "fallbacks": {"alternatives": [{"provider": "groq", "api_key": "k-spare"}]},
                    },
                    "credentials": {"openai": {"from": {"file": str(folder / "acme")}}},
                }
            },
            "secrets": {
                "lab": {"provider": "mistral", "tenants": ["*"], "from": {"env": "MISTRAL_LAB"}}
            },
            "policy": {"locks": {"embedding_provider": "openai", "embedding_api_key": "k-lock"}},
        },
        "test",
    )
    return Snapshot(document, "1", environment.read(environ), LocalSecrets(environ))


def test_every_secret_of_the_operator_is_known(tmp_path: Path) -> None:
    known = KnownSecrets(SecretStr("k-fingerprint"))
    assert set(known.of(snapshot(tmp_path))) == {
        "k-fingerprint",
        "k-env",
        "k-layer",
        "k-lab",
        "k-file",
        "k-tenant",
        "k-spare",
        "k-lock",
    }


def test_a_rotated_file_is_known_at_once(tmp_path: Path) -> None:
    current, known = snapshot(tmp_path), KnownSecrets()
    known.of(current)
    (tmp_path / "fresh").write_text("k-rotated\n")
    os.utime(tmp_path / "fresh", (1, 1))
    (tmp_path / "fresh").rename(tmp_path / "acme")
    assert {"k-file", "k-rotated"} <= set(known.of(current))


def test_what_was_replaced_is_remembered_for_a_while(tmp_path: Path) -> None:
    now = 0.0
    known = KnownSecrets(clock=lambda: now)
    known.of(snapshot(tmp_path))
    empty = Snapshot(parse({}, "test"), "2", environment.read({}), LocalSecrets({}))
    now = REMEMBERED_SECONDS
    assert {"k-file", "k-tenant", "k-env"} <= set(known.of(empty))
    now += 1
    assert known.of(empty) == []


def test_a_secret_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    current = snapshot(tmp_path)
    (tmp_path / "acme").unlink()
    assert "k-lab" in KnownSecrets().of(current)


def test_what_cannot_change_is_not_looked_at_for_every_line() -> None:
    now, reads = 0.0, 0

    class Counting(LocalSecrets):
        def read(self, origin: SecretOrigin) -> SecretStr:
            nonlocal reads
            reads += 1
            return super().read(origin)

    secret = {"provider": "mistral", "tenants": ["*"], "from": {"env": "LAB"}}
    document = parse({"secrets": {"lab": secret}}, "test")
    held = Snapshot(document, "1", environment.read({}), Counting({"LAB": "k-lab"}))
    known = KnownSecrets(clock=lambda: now)
    for _ in range(10):
        assert known.of(held) == ["k-lab"]
    assert reads == 1
    now = SAME_SECONDS
    known.of(held)
    assert reads == 2


def test_a_secret_in_a_file_is_looked_at_for_every_line(tmp_path: Path) -> None:
    now = 0.0
    known = KnownSecrets(clock=lambda: now)
    held = snapshot(tmp_path)
    assert "k-file" in known.of(held)
    (tmp_path / "acme").write_text("k-rotated\n")
    os.utime(tmp_path / "acme", (0, 0))
    assert {"k-file", "k-rotated"} <= set(known.of(held))
