"""The quality of search on the evaluation set, with the local model. `make eval` prints it all."""

from pathlib import Path

from bench.evaluation import MODES, quality, questions, ranks
from tests.system.cluster import Cluster


async def test_the_right_passage_is_among_the_first_five(tmp_path: Path) -> None:
    asked = questions()
    assert len(asked) >= 60
    assert {each.language for each in asked} == {"es", "en"}
    async with Cluster(tmp_path) as cluster:
        await cluster.serve_all()
        found = {
            mode: quality(ranked) for mode, ranked in (await ranks(cluster.query, asked)).items()
        }
    assert set(found) == set(MODES)
    assert found["hybrid"].hit_at_5 >= 0.95, found["hybrid"].missed
    assert found["dense"].hit_at_5 >= 0.95, found["dense"].missed
