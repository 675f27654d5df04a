"""What the local engine raises.

LocalEngineError
├── LocalModelUnavailableError   no usable model file, or no engine to load it
├── LocalContextError            prompt and answer do not fit into the context
├── LocalRequestError            the engine does not take the request
└── LocalGenerationError         the engine failed at work, or was closed under a request
"""


class LocalEngineError(Exception):
    """The base of everything that the local engine raises."""


class LocalModelUnavailableError(LocalEngineError):
    """The model cannot be loaded. `reason` is one word: engine, missing, unreadable or broken."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The local chat model cannot be loaded ({reason}): run `make setup`, which installs "
            "it, or set CASCADA_LOCAL_CHAT_MODEL_PATH to a GGUF file."
        )
        self.reason = reason


class LocalContextError(LocalEngineError):
    """The prompt has `prompt_tokens`, more than the `context_tokens` that a request may use."""

    def __init__(self, prompt_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and the local model takes {context_tokens}: "
            "shorten it or pass fewer passages."
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class LocalRequestError(LocalEngineError):
    """The engine does not take the request's messages, tools, format or options."""


class LocalGenerationError(LocalEngineError):
    """The engine failed while it worked, or was closed."""
