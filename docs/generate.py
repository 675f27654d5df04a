"""Write `docs/providers.md` from the capability matrix, the adapters and the table of rules.

    python docs/generate.py            write the page
    python docs/generate.py --check    change nothing; exit 1 if the page is stale

`docs/source/providers.md` is the page's prose, with a line `{{name}}` for each table, and
`docs/source/rules.toml` the rules with the tests that prove them. A test that does not exist, or an
example of a configuration file that would be refused, is an error.
"""

import argparse
import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from config_core.capabilities import CHAT_OPTIONS, MATRIX, provider_options
from config_core.connection import PUBLIC_BASE_URL, Connection
from config_core.errors import ConfigurationFileError
from config_core.file_reader import parse
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.source import Source
from embedding.providers.mistral import MistralEmbedding
from embedding.providers.openai import OpenAIEmbedding
from embedding.providers.port import EmbedCall, InputKind
from embedding.providers.wire_embedding import WireEmbedding
from query.providers.groq import GroqChat
from query.providers.mistral import MistralChat
from query.providers.model import ChatCall, ChatOptions
from query.providers.openai import OpenAIChat
from query.providers.wire_chat import WireChat
from service_core.upstream.clients import ClientPool

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "providers.md"
SOURCE = ROOT / "docs" / "source"

_NOTICE = "<!-- Written by docs/generate.py from docs/source and the code: edit those. -->\n\n"
_KINDS: tuple[ConnectionKind, ...] = ("chat", "embedding")
_NONE = "–"
_GATEWAY = "http://127.0.0.1:8000/v1"
_CHATS: Sequence[tuple[str, ModelProvider, type[WireChat], str, str]] = (
    ("openai", ModelProvider.OPENAI, OpenAIChat, "", "gpt-4.1-mini"),
    ("openai, an endpoint", ModelProvider.OPENAI, OpenAIChat, _GATEWAY, "llama"),
    ("openai, an endpoint, a reasoning model", ModelProvider.OPENAI, OpenAIChat, _GATEWAY, "o3"),
    ("groq", ModelProvider.GROQ, GroqChat, "", "llama"),
    ("mistral", ModelProvider.MISTRAL, MistralChat, "", "mistral-small-latest"),
    ("local, an endpoint", ModelProvider.LOCAL, OpenAIChat, _GATEWAY, "llama"),
)
_EMBEDDINGS: Sequence[tuple[ModelProvider, type[WireEmbedding]]] = (
    (ModelProvider.OPENAI, OpenAIEmbedding),
    (ModelProvider.MISTRAL, MistralEmbedding),
)


class DocumentationError(Exception):
    """What the page would say is not so; the text says what."""


def page() -> str:
    """The page as it has to be; DocumentationError."""
    text = (SOURCE / "providers.md").read_text(encoding="utf-8")
    for example in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        _check_example(example)
    for name, table in TABLES.items():
        place = f"{{{{{name}}}}}\n"
        if text.count(place) != 1:
            raise DocumentationError(
                f"docs/source/providers.md has to have one line {place.strip()}"
            )
        text = text.replace(place, "".join(f"{line}\n" for line in table()))
    return _NOTICE + text


def _check_example(example: str) -> None:
    try:
        parse(json.loads(example), "the example")
    except ConfigurationFileError as error:
        raise DocumentationError(f"{error}\n{example}") from None


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (titles, ["---"] * len(titles), *rows):
        yield f"| {' | '.join(cell or _NONE for cell in cells)} |"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _providers() -> Iterator[str]:
    rows = []
    for provider, row in MATRIX.items():
        chat, embedding = row.chat, row.embedding
        rows.append(
            [
                f"`{provider}`",
                ", ".join(kind for kind, has in zip(_KINDS, (chat, embedding), strict=True) if has),
                _code([chat.default_model] if chat else []),
                _code([embedding.default_model] if embedding else []),
                _code([PUBLIC_BASE_URL[provider]] if provider in PUBLIC_BASE_URL else []),
            ]
        )
    titles = ("provider", "operations", "chat model by default", "embedding model by default")
    return _table((*titles, "address"), rows)


def _chat_options() -> Iterator[str]:
    providers = [provider for provider in MATRIX if MATRIX[provider].chat]
    rows = []
    for option in CHAT_OPTIONS:
        cells = [f"`{option}`"]
        for provider in providers:
            chat = MATRIX[provider].chat
            assert chat is not None
            limit = {
                "temperature": f"up to {chat.max_temperature:g}",
                "stop": f"up to {chat.max_stop_sequences}",
            }.get(option, "yes")
            cells.append(limit if option in chat.options else "no")
        rows.append(cells)
    return _table(("option", *map(str, providers)), rows)


def _wire_names() -> Iterator[str]:
    clients = ClientPool()
    rows = []
    for what, provider, adapter, base_url, model in _CHATS:
        options = ChatOptions(max_tokens=11, seed=22)
        call = ChatCall(_connection(provider, base_url), model, (), options)
        body = adapter(clients).body(call, stream=False)
        rows.append([what, _names(body, 11), _names(body, 22), ""])
    for provider, embedding in _EMBEDDINGS:
        embed = EmbedCall(_connection(provider, ""), "m", ("",), InputKind.QUERY, dimensions=33)
        names = _names(embedding(clients).body(embed), 33)
        rows.append([f"{provider}, embeddings", "", "", names])
    return _table(("at", "`max_tokens`", "`seed`", "`embedding_dimensions`"), rows)


def _connection(provider: ModelProvider, base_url: str) -> Connection:
    address = base_url or PUBLIC_BASE_URL[provider]
    return Connection(provider, "", address, private=True, source=Source.FILE, keyless=True)


def _names(body: Mapping[str, Any], value: int) -> str:
    return _code(name for name, sent in body.items() if sent == value)


def _embedding_models() -> Iterator[str]:
    rows = []
    for provider, row in MATRIX.items():
        for name, model in row.embedding.models.items() if row.embedding else ():
            fewer = " or fewer" if model.settable_dimensions else ""
            tokens = f"{model.max_input_tokens:,}"
            rows.append([f"`{name}`", str(provider), f"{model.dimensions}{fewer}", tokens])
    return _table(("model", "provider", "dimensions", "most tokens of a text"), rows)


def _batches() -> Iterator[str]:
    rows = [
        [str(provider), f"{row.embedding.max_texts:,}", f"{row.embedding.max_tokens:,}"]
        for provider, row in MATRIX.items()
        if row.embedding
    ]
    return _table(("provider", "most texts of a call", "most tokens of a call"), rows)


def _contexts() -> Iterator[str]:
    rows = [
        [f"`{model}`", str(provider), f"{tokens:,}"]
        for provider, row in MATRIX.items()
        if row.chat
        for model, tokens in row.chat.context_tokens.items()
    ]
    return _table(("model", "provider", "context, in tokens"), rows)


def _provider_configs() -> Iterator[str]:
    rows = [
        [str(provider), f"`{option}`", kind, operation]
        for provider in MATRIX
        for operation in _KINDS
        for option, kind in provider_options(provider, operation).items()
    ]
    return _table(("provider", "option", "type", "operation"), rows)


def _rules() -> Iterator[str]:
    data = tomllib.loads((SOURCE / "rules.toml").read_text(encoding="utf-8"))
    for topic in data["topic"]:
        yield f"### {topic['title']}"
        yield ""
        rows = [[rule["rule"], "<br>".join(map(_proof, rule["tests"]))] for rule in topic["rules"]]
        yield from _table(("rule", "proved by"), rows)
        yield ""


def _proof(test: str) -> str:
    path, _, name = test.partition("::")
    if name not in _functions(ROOT / "tests" / path):
        raise DocumentationError(f"docs/source/rules.toml names {test}, which is not there")
    return f"[{name}](../tests/{path})"


@cache
def _functions(path: Path) -> frozenset[str]:
    """The names of a module's tests; none where there is no such file."""
    if not path.is_file():
        return frozenset()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return frozenset(node.name for node in nodes if isinstance(node, kinds))


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "providers": _providers,
    "chat_options": _chat_options,
    "wire_names": _wire_names,
    "embedding_models": _embedding_models,
    "batches": _batches,
    "contexts": _contexts,
    "provider_configs": _provider_configs,
    "rules": _rules,
}


def main(arguments: Sequence[str]) -> int:
    """Write or check; gives the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/providers.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    check = parser.parse_args(arguments).check
    try:
        text = page()
    except DocumentationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        sys.stderr.write("docs/providers.md is stale: run python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
