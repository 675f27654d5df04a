"""The conversation of a request: the question, and the turns before and after it."""

from collections.abc import Sequence

from cascada.common.v1 import chat_pb2

from query.providers.model import Message, Role
from query.visibility import is_visible
from query.wire_request import MAX_MESSAGE_CHARACTERS, Violations, check_text, history_from
from service_core.request_context import invalid


def conversation_from(
    message: str, turns: Sequence[chat_pb2.Turn], violations: Violations
) -> tuple[str, Sequence[Message], Sequence[Message]]:
    """The question, the turns before it and those after it.

    Without a message the model goes on from the result of a tool, which has to be the last turn.
    The question is then the user's last one: a provider takes no turn of the user after a tool's.
    """
    of_history: Violations = []
    history = history_from(turns, of_history)
    goes_on = not is_visible(message) and history and history[-1].role is Role.TOOL
    if not goes_on:
        check_text("message", message, MAX_MESSAGE_CHARACTERS, violations)
    violations += of_history
    if not goes_on:
        return message, history, ()
    asked = max((at for at, turn in enumerate(history) if turn.role is Role.USER), default=None)
    if asked is None:
        violations.append(invalid("history", "must hold the user's turn that led to the tool's"))
        return message, history, ()
    question = history[asked].text
    check_text(f"history[{asked}].text", question, MAX_MESSAGE_CHARACTERS, violations)
    return question, history[:asked], history[asked + 1 :]
