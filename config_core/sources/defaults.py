"""DEFAULT: what is built in, so that everything runs with no key."""

from config_core.capabilities import default_model
from config_core.layer import Layer
from config_core.model_configuration import ModelConfiguration, ModelProvider
from config_core.source import Source

DEFAULTS = ModelConfiguration(
    chat_provider=ModelProvider.LOCAL,
    chat_model=default_model(ModelProvider.LOCAL, "chat"),
    embedding_provider=ModelProvider.LOCAL,
    embedding_model=default_model(ModelProvider.LOCAL, "embedding"),
    # Answers about documents should be repeatable.
    temperature=0.0,
    max_tokens=1000,
    timeout_seconds=60.0,
    retry_attempts=3,
    first_token_timeout_seconds=30.0,
    stall_timeout_seconds=20.0,
)

DEFAULT_LAYER = Layer.of(Source.DEFAULT, DEFAULTS)
