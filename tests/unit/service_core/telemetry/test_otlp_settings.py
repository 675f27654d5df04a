import pytest

from config_core.errors import ConfigurationFileError
from service_core.telemetry.otlp_settings import OtlpSettings, header_secrets

URL = "http://127.0.0.1:4317"
GENERAL = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {GENERAL: " "},
        {"OTEL_SERVICE_NAME": "shop"},
        {GENERAL: URL, "OTEL_SDK_DISABLED": "true"},
        {GENERAL: URL, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_or_switched_off_nothing_is_exported(environ: dict[str, str]) -> None:
    assert OtlpSettings.read(environ) is None


def test_one_endpoint_is_for_both() -> None:
    assert OtlpSettings.read({GENERAL: URL}) == OtlpSettings(URL, URL)


def test_each_signal_may_have_its_own_or_none() -> None:
    other = "https://traces.example:4317"
    environ = {GENERAL: URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": other}
    assert OtlpSettings.read(environ) == OtlpSettings(other, URL)
    assert OtlpSettings.read({**environ, "OTEL_METRICS_EXPORTER": "none"}) == OtlpSettings(other)


def test_name_and_interval_are_taken() -> None:
    environ = {GENERAL: URL, "OTEL_SERVICE_NAME": "shop", "OTEL_METRIC_EXPORT_INTERVAL": "1500"}
    assert OtlpSettings.read(environ) == OtlpSettings(URL, URL, "shop", 1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (GENERAL, "127.0.0.1:4317"),
        (GENERAL, "ftp://127.0.0.1"),
        (GENERAL, "http://"),
        (GENERAL, "http://user:canary@127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
    ],
)
def test_what_is_wrong_is_named_by_its_variable_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigurationFileError, match=name) as caught:
        OtlpSettings.read({GENERAL: URL, name: value})
    assert "canary" not in str(caught.value)


def test_the_values_of_headers_are_secrets() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20canary-1, x-key=canary-2",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-other=canary-3",
    }
    found = {secret.get_secret_value() for secret in header_secrets(environ)}
    assert found == {"Bearer canary-1", "canary-1", "canary-2", "canary-3"}
    assert header_secrets({}) == []
