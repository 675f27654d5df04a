"""Names of models as labels: callers choose them, and must not be able to fill the memory."""

OTHER = "other"
MOST_MODELS = 200


class ModelNames:
    """Lets a model's name through once it has answered; there are only so many of those."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def answered(self, model: str) -> None:
        """A model of this name has answered."""
        if len(self._known) < MOST_MODELS:
            self._known.add(model)

    def label(self, model: str) -> str:
        """The name, or OTHER for one that no answer has come from."""
        return model if model in self._known else OTHER
