"""The tokens of a prompt, shared among what goes into it."""

from collections.abc import Callable, Sequence

from query.providers.model import Message, Role

_MESSAGE_TOKENS = 8  # what a chat template adds around a message, generously
_HISTORY_SHARE = 4  # one part in so many is the history's, where there are passages


class Budget:
    """Tokens that are left to take."""

    def __init__(self, tokens: int, count: Callable[[str], int]) -> None:
        self.left = tokens
        self._count = count

    def cost(self, *texts: str) -> int:
        """What these texts count, each as a message."""
        return sum(self._count(text) + _MESSAGE_TOKENS for text in texts)

    def spend(self, *texts: str) -> None:
        """Take what these texts cost, be it more than there is."""
        self.left -= self.cost(*texts)

    def take(self, *texts: str, spare: int = 0) -> bool:
        """Take what these texts cost, if that and `spare` tokens more are left."""
        cost = self.cost(*texts)
        if cost + spare > self.left:
            return False
        self.left -= cost
        return True


def texts_of(turn: Message) -> list[str]:
    """Everything in a turn that counts."""
    return [turn.text, *(call.arguments for call in turn.tool_calls)]


def reserved(history: Sequence[Message], budget: Budget) -> int:
    """What the newest turns need that fit into their share: passages leave them that much."""
    share = budget.left // _HISTORY_SHARE
    needed = 0
    for turn in reversed(history):
        cost = budget.cost(*texts_of(turn))
        if needed + cost > share:
            break
        needed += cost
    return needed


def newest(history: Sequence[Message], budget: Budget) -> list[Message]:
    """The newest turns that fit, from a turn of the user on."""
    turns: list[Message] = []
    for turn in reversed(history):
        if not budget.take(*texts_of(turn)):
            break
        turns.append(turn)
    while turns and turns[-1].role is not Role.USER:
        turns.pop()
    return turns[::-1]
