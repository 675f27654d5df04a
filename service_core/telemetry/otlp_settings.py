"""Whether and where to export, by OpenTelemetry's own variables.

What they say beyond that is read by OpenTelemetry's SDK: headers, certificates, compression, time
limits, the sampler, the sizes of its queue.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_{}_PROTOCOL")
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"

EXPORT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Where what goes to; "" for nowhere."""

    traces: str = ""
    metrics: str = ""
    service_name: str = ""
    """The operator's name for the process; "" where there is none."""
    interval_seconds: float = EXPORT_SECONDS
    """Time between two exports of the metrics."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "OtlpSettings | None":
        """What the environment says; `None` where nothing is exported.

        Raises:
            ConfigurationFileError: An endpoint or protocol is not one that is spoken here.
        """
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        traces, metrics = _endpoint(environ, "TRACES"), _endpoint(environ, "METRICS")
        if not traces and not metrics:
            return None
        return cls(traces, metrics, environ.get("OTEL_SERVICE_NAME", "").strip(), _every(environ))


def header_secrets(environ: Mapping[str, str]) -> list[SecretStr]:
    """The values of the headers that go to the collector: most likely a token."""
    names = [f"OTEL_EXPORTER_OTLP_{signal}HEADERS" for signal in ("", "TRACES_", "METRICS_")]
    pairs = [pair for name in names for pair in environ.get(name, "").split(",")]
    values = [unquote(pair.partition("=")[2].strip()) for pair in pairs]
    # Of `Bearer token` the token too: it may come up without the word before it.
    return [SecretStr(part) for value in values for part in {value, value.split(" ")[-1]} if part]


def _endpoint(environ: Mapping[str, str], signal: str) -> str:
    if environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip() not in {"otlp", ""}:
        return ""
    variable = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    if not environ.get(variable, "").strip():
        variable = _ENDPOINT
    url = environ.get(variable, "").strip()
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _wrong(variable, "must be http:// or https://, a host and a port")
    if "@" in parts.netloc:
        raise _wrong(variable, "must not hold credentials: OTEL_EXPORTER_OTLP_HEADERS may")
    for pattern in _PROTOCOLS:
        name = pattern.format(signal)
        if environ.get(name, "grpc").strip() not in {"grpc", ""}:
            raise _wrong(name, "must be grpc: OTLP over HTTP is not spoken here")
    return url


def _every(environ: Mapping[str, str]) -> float:
    text = environ.get(_INTERVAL, "").strip()
    if not text:
        return EXPORT_SECONDS
    if not text.isdecimal() or int(text) < 1:
        raise _wrong(_INTERVAL, "must be a number of milliseconds")
    return int(text) / 1000


def _wrong(variable: str, why: str) -> ConfigurationFileError:
    return ConfigurationFileError(PLACE, [(variable, why)])
