"""The configuration trace for people: hop by hop, every value with the layer that it came from."""

from collections.abc import Iterator, Mapping
from typing import Any

from cascada.config.v1 import (
    configuration_trace_pb2,
    effective_configuration_pb2,
    model_configuration_pb2,
)
from rich import box
from rich.table import Table
from rich.text import Text

from cli.messages import operation_name, outcome_name, provider_name, source_name
from cli.output import Output, printable

_Configuration = model_configuration_pb2.ModelConfiguration

# The tables of all hops line up, and fit into 80 columns.
_FIELD_WIDTH = 27
_VALUE_WIDTH = 24

_FIELDS = {field.name: field.number for field in _Configuration.DESCRIPTOR.fields}


def show_trace(output: Output, trace: configuration_trace_pb2.ConfigurationTrace) -> None:
    """Writes a table a hop, with what was dropped and whom the service called."""
    for hop in trace.hops:
        model = "/".join(filter(None, (_provider(hop.effective), _model(hop.effective))))
        parts = (hop.service, operation_name(hop.operation), model, _seconds(hop.duration))
        title = " · ".join(part for part in parts if part)
        if hop.collections:
            chats = hop.operation == effective_configuration_pb2.OPERATION_CHAT
            what = "orders passages of" if chats else "for"
            title += f" · {what} {', '.join(hop.collections)}"
        show_effective(output, hop.effective, title)
        for sentence in attempts(hop):
            output.line(sentence)
        output.line()


def show_effective(
    output: Output, effective: effective_configuration_pb2.EffectiveConfiguration, title: str
) -> None:
    """Writes one operation's configuration as a table of field, value and source."""
    output.line(title, style="bold")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Field", no_wrap=True, min_width=_FIELD_WIDTH)
    table.add_column("Value", overflow="fold", min_width=_VALUE_WIDTH)
    table.add_column("Source", no_wrap=True)
    for row in settings(effective):
        table.add_row(*(Text(printable(cell)) for cell in row))
    output.show(table)
    for option in effective.dropped:
        output.line(f"dropped {option.field} ({source_name(option.source)}): {option.reason}")


def settings(
    effective: effective_configuration_pb2.EffectiveConfiguration,
) -> Iterator[tuple[str, str, str]]:
    """Each value as field, text and source, in the order of the contract."""
    names = sorted(effective.sources, key=lambda name: (_FIELDS.get(name.split(".")[0], 0), name))
    for name in names:
        yield name, _value(effective.values, name), source_name(effective.sources[name])
    if effective.credential_source:
        yield "credential", "present", source_name(effective.credential_source)


def attempts(hop: configuration_trace_pb2.HopReport) -> Iterator[str]:
    """One line a call to a provider, and a passed-over alternative."""
    for number, attempt in enumerate(hop.attempts, start=1):
        place = f" at {attempt.endpoint}" if attempt.endpoint else ""
        outcome = outcome_name(attempt.outcome)
        took = "" if outcome == "skipped" else f" after {_seconds(attempt.duration)}"
        wait = f", {_seconds(attempt.wait)} waited" if attempt.wait.ToNanoseconds() else ""
        detail = f": {attempt.detail}" if attempt.detail else ""
        yield (
            f"attempt {number}: {provider_name(attempt.provider)}{place}/{attempt.model} "
            f"{outcome}{took}{wait}{detail}"
        )


def _value(values: _Configuration, name: str) -> str:
    field, _, rest = name.partition(".")
    if field == "provider_configs":
        provider, _, option = rest.partition(".")
        return _json_like(values.provider_configs[provider]).get(option, "")
    if field in ("stop", "fallbacks"):
        return _listed(values, field)
    if field not in _FIELDS or not values.HasField(field):  # type: ignore[arg-type]  # a name from the wire
        return ""
    value: Any = getattr(values, field)
    if field.endswith("_provider"):
        return provider_name(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json_like(options: Any) -> Mapping[str, str]:
    return {name: str(value) for name, value in dict(options).items()}


def _listed(values: _Configuration, field: str) -> str:
    if field == "stop":
        return ", ".join(map(repr, values.stop.sequences)) or "none"
    alternatives = [
        "/".join(
            part
            for part in (
                provider_name(alternative.provider) if alternative.provider else "",
                alternative.endpoint,
                alternative.model,
            )
            if part
        )
        for alternative in values.fallbacks.alternatives
    ]
    return ", ".join(alternatives) or "none"


def _provider(effective: effective_configuration_pb2.EffectiveConfiguration) -> str:
    values = effective.values
    number = values.chat_provider or values.embedding_provider
    endpoint = values.chat_endpoint or values.embedding_endpoint
    name = provider_name(number) if number else ""
    return f"{name} at {endpoint}" if endpoint else name


def _model(effective: effective_configuration_pb2.EffectiveConfiguration) -> str:
    asked, resolved = effective.requested_model, effective.resolved_model
    return f"{asked} → {resolved}" if asked and asked != resolved else resolved


def _seconds(duration: Any) -> str:
    return f"{duration.ToNanoseconds() / 1e9:.2f} s"
