import json

from cascada.config.v1 import model_provider_pb2
from cascada.query.v1 import query_service_pb2 as pb

from tests.unit.cli.fake_services import CommandLine


def test_hits_are_listed_best_first(cascada: CommandLine) -> None:
    hits = pb.SearchResponse()
    hits.hits.add(document_id="a.md", collection="c", score=0.5, dense_score=0.25, text="one\ntwo")
    hits.hits.add(document_id="b.md", collection="c", score=0.1, section="S")
    cascada.fake.hits = hits
    result = cascada("search", "q", "-c", "c")
    assert result.stdout == (
        "1. a.md (c, score 0.5000, cosine 0.250)\n   one\n   two\n2. b.md (c, score 0.1000)\n   S\n"
    )


def test_each_way_to_choose_passages_arrives_in_the_request(cascada: CommandLine) -> None:
    cascada("search", "q", "-c", "c", "--mmr", "0.5", "--neighbours", "1", "--rerank", "--json")
    asked = cascada.fake.requests[0].retrieval
    assert (asked.mmr_lambda, asked.neighbours, asked.rerank) == (0.5, 1, True)


def test_who_orders_the_passages_arrives_in_the_configuration(cascada: CommandLine) -> None:
    cascada("search", "q", "-c", "c", "--rerank", "--provider", "groq", "--model", "m", "--json")
    configuration = cascada.fake.requests[0].model_configuration
    assert configuration.chat_provider == model_provider_pb2.MODEL_PROVIDER_GROQ
    assert configuration.chat_model == "m"


def test_finding_nothing_is_not_an_error(cascada: CommandLine) -> None:
    result = cascada("search", "q", "-c", "c")
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_search_without_a_collection_is_a_usage_error(cascada: CommandLine) -> None:
    assert cascada("search", "q").exit_code == 2


def test_json_is_one_document(cascada: CommandLine) -> None:
    assert json.loads(cascada("search", "q", "-c", "c", "--json").stdout)["hits"] == []
