import pytest
from cascada.common.v1 import chat_pb2

from config_core.errors import Violation
from query.providers.model import Role
from query.wire_conversation import conversation_from

TURNS = (
    chat_pb2.Turn(role="user", text="What time is it?"),
    chat_pb2.Turn(role="assistant", tool_calls=[chat_pb2.ToolCall(id="1", name="clock")]),
    chat_pb2.Turn(role="tool", text="Three.", tool_call_id="1"),
)


@pytest.mark.parametrize("message", ["", " ", "\u200b"])
def test_a_message_that_says_nothing_goes_on_from_the_tool(message: str) -> None:
    violations: list[Violation] = []
    question, before, after = conversation_from(message, TURNS, violations)
    assert not violations
    assert (question, list(before)) == ("What time is it?", [])
    assert [turn.role for turn in after] == [Role.ASSISTANT, Role.TOOL]


def test_a_tools_turn_without_its_call_is_all_that_is_wrong() -> None:
    violations: list[Violation] = []
    conversation_from("", [*TURNS[:2], chat_pb2.Turn(role="tool", text="Three.")], violations)
    assert [found.field for found in violations] == ["history[2].tool_call_id"]
