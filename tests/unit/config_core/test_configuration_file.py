"""The configuration file: what is accepted, how it is refused, and its version."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from config_core import configuration_file, file_reader
from config_core.configuration_file import json_schema
from config_core.errors import ConfigurationFileError
from config_core.file_reader import parse, read, version_of

FULL: dict[str, Any] = {
    "defaults": {
        "chat_provider": "openai",
        "chat_model": "gpt-4.1",
        "chat_secret_ref": "shared",
        "temperature": 0,
        "max_tokens": 800,
        "embedding_endpoint": "corp",
        "embedding_model": "e5",
        "embedding_api_key": "sk-canary-corp",
        "embedding_dimensions": 256,
        "timeout_seconds": 30,
        "retry_attempts": 0,
        "top_p": 0.9,
        "frequency_penalty": 0,
        "presence_penalty": -0.5,
        "seed": 0,
        "stop": [],
        "attempt_timeout_seconds": 10,
        "first_token_timeout_seconds": 5,
        "stall_timeout_seconds": 2.5,
        "provider_configs": {"openai": {"store": False, "metadata": {"team": "x"}}},
        "fallbacks": {
            "alternatives": [{"provider": "groq", "model": "m", "api_key": "gsk-canary"}],
            "fallback_on": ["content_refused"],
        },
    },
    "tenants": {
        "acme": {
            "model_configuration": {"chat_provider": "groq", "chat_api_key": "gsk-canary-acme"},
            "credentials": {
                "openai": {"secret_ref": "shared"},
                "corp": {"from": {"file": "/run/secrets/corp"}},
            },
            "policy": {
                "locks": {"max_tokens": 100},
                "bounds": {"temperature": {"min": 0, "max": 1}},
                "operator_fallback": True,
            },
        }
    },
    "endpoints": {
        "corp": {
            "provider": "openai",
            "base_url": "https://corp.example/v1",
            "space": "corp-e5",
            "private": True,
            "keyless": False,
        }
    },
    "secrets": {
        "shared": {"provider": "openai", "tenants": ["*"], "from": {"env": "SHARED"}},
        "corp": {
            "provider": "openai",
            "endpoint": "corp",
            "tenants": ["acme"],
            "from": {"file": "/run/secrets/corp"},
        },
    },
    "policy": {"bounds": {"max_tokens": {"max": 500}}},
}

INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "unknown section": ({"canary": {}}, "canary"),
    "not an object": ({"defaults": "sk-canary"}, "defaults"),
    "out of range": ({"defaults": {"temperature": 3}}, "defaults.temperature"),
    "unknown provider": ({"defaults": {"chat_provider": "canary"}}, "defaults.chat_provider"),
    "unusable key": (
        {"defaults": {"chat_provider": "openai", "chat_api_key": "sk canary"}},
        "defaults.chat_api_key",
    ),
    "unusable fallback key": (
        {"defaults": {"fallbacks": {"alternatives": [{"api_key": "sk canary"}]}}},
        "defaults.fallbacks.alternatives[0].api_key",
    ),
    "lone key": ({"defaults": {"chat_api_key": "sk-canary"}}, "defaults.chat_api_key"),
    "key and reference": (
        {
            "defaults": {
                "chat_provider": "openai",
                "chat_api_key": "sk-canary",
                "chat_secret_ref": "shared",
            },
            "secrets": {"shared": FULL["secrets"]["shared"]},
        },
        "defaults.chat_secret_ref",
    ),
    "unknown endpoint": ({"defaults": {"chat_endpoint": "canary"}}, "defaults.chat_endpoint"),
    "endpoint of another provider": (
        {
            "defaults": {"chat_endpoint": "corp", "chat_provider": "groq"},
            "endpoints": FULL["endpoints"],
        },
        "defaults.chat_provider",
    ),
    "unknown secret": (
        {"defaults": {"chat_provider": "openai", "chat_secret_ref": "canary"}},
        "defaults.chat_secret_ref",
    ),
    "unknown option": (
        {"defaults": {"provider_configs": {"openai": {"nonsense": "canary"}}}},
        "defaults.provider_configs.openai.nonsense",
    ),
    "fallback to nothing": (
        {"defaults": {"fallbacks": {"alternatives": [{"model": "canary"}]}}},
        "defaults.fallbacks.alternatives[0]",
    ),
    "fallback to an unknown endpoint": (
        {"defaults": {"fallbacks": {"alternatives": [{"endpoint": "canary"}]}}},
        "defaults.fallbacks.alternatives[0].endpoint",
    ),
    "fallback to an endpoint of another provider": (
        {
            "defaults": {"fallbacks": {"alternatives": [{"endpoint": "corp", "provider": "groq"}]}},
            "endpoints": FULL["endpoints"],
        },
        "defaults.fallbacks.alternatives[0].provider",
    ),
    "address with a credential": (
        {"endpoints": {"e": {"provider": "openai", "base_url": "https://u:canary@x"}}},
        "endpoints.e.base_url",
    ),
    "address with a query": (
        {"endpoints": {"e": {"provider": "openai", "base_url": "https://x/?key=canary"}}},
        "endpoints.e.base_url",
    ),
    "address of another scheme": (
        {"endpoints": {"e": {"provider": "openai", "base_url": "file:///canary"}}},
        "endpoints.e.base_url",
    ),
    "endpoint named like another provider": (
        {"endpoints": {"groq": {"provider": "openai", "base_url": "https://canary.example"}}},
        "endpoints.groq",
    ),
    "secret from nowhere": (
        {"secrets": {"s": {"provider": "openai", "tenants": ["a"], "from": {}}}},
        "secrets.s.from",
    ),
    "secret from two places": (
        {
            "secrets": {
                "s": {
                    "provider": "openai",
                    "tenants": ["a"],
                    "from": {"env": "A", "file": "canary"},
                }
            }
        },
        "secrets.s.from",
    ),
    "secret in clear": (
        {"secrets": {"s": {"provider": "openai", "tenants": ["a"], "from": "sk-canary"}}},
        "secrets.s.from",
    ),
    "secret of nobody": (
        {"secrets": {"s": {"provider": "openai", "tenants": [], "from": {"env": "A"}}}},
        "secrets.s.tenants",
    ),
    "secret of an unknown endpoint": (
        {
            "secrets": {
                "s": {
                    "provider": "openai",
                    "endpoint": "canary",
                    "tenants": ["a"],
                    "from": {"env": "A"},
                }
            }
        },
        "secrets.s.endpoint",
    ),
    "secret of an endpoint of another provider": (
        {
            "endpoints": FULL["endpoints"],
            "secrets": {
                "s": {
                    "provider": "groq",
                    "endpoint": "corp",
                    "tenants": ["a"],
                    "from": {"env": "A"},
                }
            },
        },
        "secrets.s.provider",
    ),
    "credential of nothing": (
        {"tenants": {"acme": {"credentials": {"nowhere": {"from": {"env": "A"}}}}}},
        "tenants.acme.credentials.nowhere",
    ),
    "credential from an unknown secret": (
        {"tenants": {"acme": {"credentials": {"openai": {"secret_ref": "canary"}}}}},
        "tenants.acme.credentials.openai.secret_ref",
    ),
    "credential from another tenant's secret": (
        {
            "tenants": {"acme": {"credentials": {"openai": {"secret_ref": "s"}}}},
            "secrets": {"s": {"provider": "openai", "tenants": ["rival"], "from": {"env": "A"}}},
        },
        "tenants.acme.credentials.openai.secret_ref",
    ),
    "credential from another connection's secret": (
        {
            "tenants": {"acme": {"credentials": {"groq": {"secret_ref": "s"}}}},
            "secrets": {"s": {"provider": "openai", "tenants": ["*"], "from": {"env": "A"}}},
        },
        "tenants.acme.credentials.groq.secret_ref",
    ),
    "lone locked key": (
        {"policy": {"locks": {"chat_api_key": "sk-canary"}}},
        "policy.locks.chat_api_key",
    ),
    "lone locked key of a tenant": (
        {"tenants": {"acme": {"policy": {"locks": {"chat_api_key": "sk-canary"}}}}},
        "tenants.acme.policy.locks.chat_api_key",
    ),
    "bound of an unknown field": (
        {"policy": {"bounds": {"seed": {"max": 1}}}},
        "policy.bounds.seed.[key]",
    ),
    "bound upside down": (
        {"policy": {"bounds": {"max_tokens": {"min": 2, "max": 1}}}},
        "policy.bounds.max_tokens",
    ),
    "tenant without a name": ({"tenants": {"": {}}}, "tenants."),
    "tenant that would be everyone": ({"tenants": {"*": {}}}, "tenants.*"),
}


def _write(folder: Path, text: str) -> Path:
    path = folder / "cascada.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_document_is_read(tmp_path: Path) -> None:
    document, version = read(_write(tmp_path, json.dumps(FULL)))
    assert document.tenants["acme"].policy.locks.max_tokens == 100
    assert document.endpoints["corp"].base_url == "https://corp.example/v1"
    assert len(version) == 16


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_document_is_refused_by_path_and_reason_without_its_value(
    case: str, tmp_path: Path
) -> None:
    raw, where = INVALID[case]
    path = _write(tmp_path, json.dumps(raw))
    with pytest.raises(ConfigurationFileError) as refused:
        read(path)
    error = refused.value
    assert error.place == str(path)
    assert where in [found for found, _ in error.problems]
    assert all(why for _, why in error.problems)
    values = str(error).replace(where, "")
    assert "canary" not in values
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"defaults": {"temperature": 1,}}', "line 1"),
        ("", "line 1"),
        ('{"policy": {}, "policy": {}}', "policy"),
        (
            '{"defaults": {"chat_api_key": "sk-canary", "chat_api_key": "sk-canary"}}',
            "chat_api_key",
        ),
        ("[" * 100_000, ""),
        ('{"defaults": {"seed": ' + "9" * 5000 + "}}", ""),
        ('{"defaults": {"temperature": NaN}}', "defaults.temperature"),
        ('{"policy": {"bounds": {"max_tokens": {"max": NaN}}}}', "policy.bounds.max_tokens.max"),
    ],
)
def test_text_that_is_no_document_is_refused_with_its_place(
    text: str, where: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationFileError) as refused:
        read(_write(tmp_path, text))
    assert any(found.startswith(where) for found, _ in refused.value.problems)
    assert "canary" not in str(refused.value)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    with pytest.raises(ConfigurationFileError, match="No such file"):
        read(path)
    path.write_bytes(b'{"defaults": "\xff"}')
    with pytest.raises(ConfigurationFileError, match="UTF-8"):
        read(path)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    raw = {"defaults": {"temperature": 3, "top_p": 0}, "policy": {"bounds": {"seed": {}}}}
    with pytest.raises(ConfigurationFileError) as refused:
        parse(raw, "f")
    assert len(refused.value.problems) == 3


def test_the_schema_is_valid_and_accepts_a_full_document() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(FULL)
    json.dumps(schema)


@pytest.mark.parametrize(
    "case",
    ["unknown section", "not an object", "out of range", "unknown provider", "secret in clear"],
)
def test_the_schema_refuses_what_the_reader_refuses(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(INVALID[case][0])


def test_the_version_is_of_the_content_and_not_of_its_form(tmp_path: Path) -> None:
    _, compact = read(_write(tmp_path, json.dumps(FULL)))
    _, spread = read(_write(tmp_path, json.dumps(dict(reversed(FULL.items())), indent=4)))
    assert compact == spread
    _, changed = read(_write(tmp_path, json.dumps(FULL | {"policy": {}})))
    assert changed != compact


def test_the_version_tells_nothing_of_keys() -> None:
    text = json.dumps(FULL)
    assert "canary" in text
    assert version_of(json.loads(text.replace("canary", "other"))) == version_of(FULL)


def test_every_secret_of_the_models_is_left_out_of_the_version() -> None:
    names = {
        name
        for definition in json_schema()["$defs"].values()
        for name, field in definition.get("properties", {}).items()
        if "password" in json.dumps(field)
    }
    assert names == {"chat_api_key", "embedding_api_key", "api_key"}
    for name in names:
        kept = file_reader._without_keys({"a": [{name: "canary"}]})
        assert "canary" not in json.dumps(kept)


def test_an_address_loses_only_its_last_slash() -> None:
    assert configuration_file.base_url("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000/v1"
