"""The prompt for models that follow instructions, from a question and the passages found for it.

Rules, numbered passages between boundary lines, the conversation, the question. The bundled model,
which follows no instructions, gets another one (`query.small_prompt`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from query.boundary import begun, boundary_of, ended
from query.prompt_budget import Budget, newest, reserved, texts_of
from query.prompt_template import PromptTemplate
from query.providers.model import Message, Role


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that was found for the question."""

    chunk_id: str
    document_id: str
    heading: str
    """Title and section; "" for none."""
    text: str
    shorter: str = ""
    """What to take where `text` does not fit: the passage without its neighbours; "" for none."""

    @property
    def versions(self) -> Iterator[str]:
        """Its texts, the longer first."""
        return filter(None, (self.text, self.shorter))


@dataclass(frozen=True, slots=True)
class Used:
    """A passage that is in the prompt, with the text that it is there with."""

    passage: Passage
    text: str


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What a prompt is made of."""

    question: str
    passages: Sequence[Passage]
    """Most relevant first; none for a plain conversation."""
    system_prompt: str
    """The caller's instructions; "" for none."""
    history: Sequence[Message]
    """Earlier turns, oldest first."""
    max_context_tokens: int
    """What all messages together may count; leave room for the answer."""
    count_tokens: Callable[[str], int]
    after: Sequence[Message] = ()
    """What followed the question: calls of tools and their results; none for a new question."""
    template: PromptTemplate = field(default_factory=PromptTemplate)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Chat messages, and the passages in them: a citation [n] means `used[n - 1]`."""

    messages: tuple[Message, ...]
    """A last message of the assistant is to be continued: the answer is what comes after it."""
    used: tuple[Used, ...]
    """Empty, though there were passages, where none fits: the caller must not pass it off as an
    answer from the documents."""
    stop: tuple[str, ...] = ()
    """Texts at which generation must stop, besides the caller's own."""


def standard_prompt(request: PromptRequest) -> Prompt:
    """The messages for `request`, within its budget as far as passages and history can give way.

    The question, what followed it and the system prompt are always whole. Of what is left the
    newest turns have up to a quarter, unless the first passage needs it; passages take the rest,
    each whole or not at all, and older turns what those leave.
    """
    budget = budget_of(request)
    system = request.system_prompt
    used: list[Used] = []
    if request.passages:
        boundary = boundary_of(_texts(request))
        rules = request.template.render("", boundary, "")
        if budget.take(rules, ended(boundary)):
            blocks: list[str] = []
            spare = reserved(request.history, budget)
            for passage in request.passages:
                for text in passage.versions:
                    block = begun(boundary, len(used) + 1, passage.heading, text)
                    if budget.take(block, spare=spare if used else 0):
                        blocks.append(block)
                        used.append(Used(passage, text))
                        break
            if used:
                data = "\n".join([*blocks, ended(boundary)])
                system = request.template.render(data, boundary, system)
    messages = newest(request.history, budget)
    if system:
        messages.insert(0, Message(Role.SYSTEM, system))
    question = Message(Role.USER, request.question)
    return Prompt((*messages, question, *request.after), tuple(used))


def budget_of(request: PromptRequest) -> Budget:
    """The tokens that are left once question and system prompt have theirs."""
    budget = Budget(request.max_context_tokens, request.count_tokens)
    budget.spend(request.system_prompt, request.question)
    for turn in request.after:
        budget.spend(*texts_of(turn))
    return budget


def _texts(request: PromptRequest) -> Iterator[str]:
    """Everything that the boundary must not occur in."""
    yield request.question
    for passage in request.passages:
        yield from (passage.heading, passage.text, passage.shorter)
