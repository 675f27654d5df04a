"""The template of the system message that passages are given in; an operator can set another.

It is a text with placeholders in braces. Literal braces are doubled: `{{` and `}}`.

    {passages}       the numbered passages, each behind its boundary line; once
    {boundary}       the boundary, for the rule that makes data of the passages; at least once
    {system_prompt}  the caller's instructions; without it they stand before everything
"""

import re
from pathlib import Path

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from query.boundary import DATA_RULE

VARIABLE = "CASCADA_PROMPT_TEMPLATE_FILE"
MAX_CHARACTERS = 20_000
_NAMES = ("passages", "boundary", "system_prompt")
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

_DEFAULT = f"""\
Answer the user's last message only from the passages below. Right after each statement cite the \
passage that supports it by its number: [1], or [1][2]. If the passages do not hold the answer, \
say so. Answer in the language of the question.
{DATA_RULE}

{{passages}}"""


class TemplateError(ValueError):
    """The text is no template; the message says why, and what to do."""


class PromptTemplate:
    """A template that is known to be whole; raises TemplateError for one that is not."""

    def __init__(self, text: str = _DEFAULT) -> None:
        if len(text) > MAX_CHARACTERS:
            raise TemplateError(f"has more than {MAX_CHARACTERS} characters")
        self._parts: list[tuple[str, str]] = []
        end = 0
        for match in _PART.finditer(text):
            self._parts.append((text[end : match.start()], _checked(match, text)))
            end = match.end()
        self._parts.append((text[end:], ""))
        names = [name for _, name in self._parts]
        if names.count("passages") != 1:
            raise TemplateError("must have {passages} exactly once: where the passages go")
        if "boundary" not in names:
            raise TemplateError(
                "must have {boundary}: say that passages begin with it, that {boundary} end ends "
                "them, and that what stands between is data"
            )
        self._takes_instructions = "system_prompt" in names

    def render(self, passages: str, boundary: str, system_prompt: str) -> str:
        """The system message; nothing in its parts is taken for a placeholder."""
        values = {
            "passages": passages,
            "boundary": boundary,
            "system_prompt": system_prompt,
            "{{": "{",
            "}}": "}",
            "": "",
        }
        text = "".join(before + values[name] for before, name in self._parts).strip()
        if self._takes_instructions or not system_prompt:
            return text
        return f"{system_prompt}\n\n{text}"


def read_template(path: Path | None) -> PromptTemplate:
    """The template in a file, or the built-in one; raises ConfigurationFileError."""
    if path is None:
        return PromptTemplate()
    try:
        with path.open(encoding="utf-8-sig") as file:
            return PromptTemplate(file.read(MAX_CHARACTERS + 1))
    except TemplateError as error:
        why = str(error)
    except (OSError, UnicodeDecodeError):
        why = "can't be read as a text file"
    raise ConfigurationFileError(PLACE, [(VARIABLE, f"{path} {why}")])


def _checked(match: re.Match[str], text: str) -> str:
    """The placeholder's name, or the doubled brace."""
    name = match[1]
    if name is None and len(match[0]) == 2:
        return match[0]
    line = text.count("\n", 0, match.start()) + 1
    if name is None:
        raise TemplateError(f"has a single {match[0]} in line {line}: write it twice")
    if name not in _NAMES:
        known = ", ".join(f"{{{each}}}" for each in _NAMES)
        raise TemplateError(
            f"has {{{name}}} in line {line}, which is none of {known}; double braces that are meant"
        )
    return name
