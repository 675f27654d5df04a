"""The rules for one tenant: its own policy together with the one for everyone."""

from typing import Any

import pytest
from pydantic import ValidationError

from config_core.file_reader import parse
from config_core.model_configuration import ModelProvider
from config_core.place import Place
from config_core.policy import Bound, Policy
from config_core.rules import Rules

OPENAI = Place(ModelProvider.OPENAI)
CORP = Place(ModelProvider.OPENAI, "corp")


def rules(own: dict[str, Any], general: dict[str, Any]) -> Rules:
    return Rules.of(Policy.model_validate(general), "acme", Policy.model_validate(own))


def bound(**limits: float) -> dict[str, Any]:
    return {"bounds": {"max_tokens": limits}}


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (600, "tenants.acme.policy.bounds.max_tokens"),
        (901, "tenants.acme.policy.bounds.max_tokens"),
        (5, "policy.bounds.max_tokens"),
    ],
)
def test_the_rule_that_a_value_exceeds_is_named(value: float, rule: str) -> None:
    broken = rules(bound(max=500), bound(min=10, max=900)).beyond_bound("max_tokens", value)
    assert broken is not None
    assert broken.rule == rule
    assert broken.asked == "must be at least 10 and at most 500"


def test_a_value_inside_both_bounds_breaks_none() -> None:
    both = rules(bound(max=500), bound(min=10))
    assert both.beyond_bound("max_tokens", 500) is None
    assert both.beyond_bound("temperature", 2) is None


def test_each_lock_is_named_by_the_policy_that_it_stands_in() -> None:
    both = rules({"locks": {"temperature": 0.5}}, {"locks": {"temperature": 1, "top_p": 0.5}})
    assert both.lock_rule("temperature") == "tenants.acme.policy.locks.temperature"
    assert both.lock_rule("top_p") == "policy.locks.top_p"


def test_a_ceiling_is_the_bounds_maximum_or_what_there_is_without_one() -> None:
    assert rules({"bounds": {"batch": {"max": 16}}}, {}).ceiling("batch", 256) == 16
    assert rules({"bounds": {"batch": {"max": 1000}}}, {}).ceiling("batch", 256) == 256
    assert rules({}, {}).ceiling("batch", 256) == 256


@pytest.mark.parametrize("end", [0, 1.5])
def test_a_ceiling_is_a_whole_number_from_1(end: float) -> None:
    with pytest.raises(ValidationError, match="top_k can't be bounded"):
        Policy(bounds={"top_k": Bound(max=end)})


def test_each_limit_of_a_tenant_replaces_the_one_for_everyone() -> None:
    general = {"limits": {"requests_per_minute": 10, "concurrent_requests": 2}}
    both = rules({"limits": {"requests_per_minute": 100, "tokens_per_minute": 5}}, general)
    assert both.limits.requests_per_minute == 100
    assert both.limits.tokens_per_minute == 5
    assert both.limits.concurrent_requests == 2


@pytest.mark.parametrize(("own", "expected"), [(None, True), (False, False), (True, True)])
def test_a_tenants_word_on_the_operators_fallback_replaces_that_for_everyone(
    own: bool | None,  # noqa: FBT001 # a case of the table
    *,
    expected: bool,
) -> None:
    mine = {} if own is None else {"operator_fallback": own}
    assert rules(mine, {"operator_fallback": True}).operator_fallback is expected


def test_patterns_of_both_policies_have_to_fit() -> None:
    both = rules(
        {"models": {"openai": {"chat": ["gpt-4.1*"]}}}, {"models": {"openai": {"chat": ["*mini"]}}}
    )
    assert both.refusal("chat", OPENAI, "gpt-4.1-mini") is None
    assert both.refusal("chat", OPENAI, "gpt-4.1") is not None
    assert both.refusal("chat", OPENAI, "gpt-4o-mini") is not None


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-4o"])
@pytest.mark.parametrize("place", [OPENAI, CORP, Place(ModelProvider.GROQ)])
@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"providers": []},
        {"providers": ["openai"]},
        {"endpoints": ["corp", "groq"]},
        {"endpoints": []},
        {"models": {"openai": {"chat": ["gpt-4.1*"]}}},
        {"models": {"openai": {"chat": []}, "groq": {"embedding": []}}},
        {"providers": ["openai"], "endpoints": ["openai"], "models": {"openai": {"chat": ["*"]}}},
    ],
)
def test_what_is_listed_as_allowed_is_exactly_what_is_not_refused(
    policy: dict[str, Any], place: Place, model: str
) -> None:
    for both in (rules(policy, {}), rules({}, policy)):
        refused = both.refusal("chat", place, model)
        listed = both.allows_endpoint(place) and both.allows_model("chat", place.provider, model)
        assert listed is (refused is None)
        if not both.allows_provider(place.provider):
            assert refused is not None
            assert refused.part == "provider"


def test_each_part_of_a_connection_that_is_refused_has_its_rule_and_what_is_allowed() -> None:
    both = rules(
        {"providers": ["openai"], "models": {"openai": {"chat": ["gpt-4.1*", "o3"]}}},
        {"endpoints": ["corp"]},
    )
    found = [
        both.refusal("chat", Place(ModelProvider.GROQ), "x"),
        both.refusal("chat", OPENAI, "o3"),
        both.refusal("chat", CORP, "gpt-4o"),
    ]
    assert [each and (each.rule, each.asked, each.part) for each in found] == [
        ("tenants.acme.policy.providers", "must be one of openai", "provider"),
        ("policy.endpoints", "must be one of corp", "endpoint"),
        (
            "tenants.acme.policy.models.openai.chat",
            "must be one of gpt-4.1*, o3, not 'gpt-4o'",
            "model",
        ),
    ]


def test_a_policy_that_says_nothing_is_left_out() -> None:
    assert not rules({}, {}).policies
    assert list(rules({"providers": []}, {}).policies) == ["tenants.acme.policy"]
    assert list(rules({}, {"own_keys": "allowed"}).policies) == ["policy"]


@pytest.mark.parametrize(
    "policy",
    [
        {"own_keys": "sometimes"},
        {"providers": ["acme"]},
        {"models": {"acme": {}}},
        {"models": {"openai": ["gpt"]}},
        {"models": {"openai": {"chat": [""]}}},
        {"limits": {"requests_per_minute": 0}},
        {"limits": {"requests_per_second": 1}},
    ],
)
def test_a_policy_that_says_something_unknown_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"tenants\.acme\.policy\."):
        parse({"tenants": {"acme": {"policy": policy}}}, "cascada.json")
