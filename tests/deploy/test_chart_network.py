"""Whom the chart's network policies let through, and where to."""

from typing import Any

from tests.deploy.chart import CASES, FULL, SERVICES, of, render


def test_a_service_is_reached_by_the_one_before_it_and_by_whom_is_named() -> None:
    policies = {name: found["spec"] for name, found in of(render(FULL), "NetworkPolicy").items()}
    assert set(policies) == set(SERVICES)
    reaching = {
        name: [
            list(peer.get("podSelector", peer.get("namespaceSelector"))["matchLabels"].values())[-1]
            for rule in sorted(spec["ingress"], key=lambda rule: str(rule["ports"]))
            if rule["ports"][0]["port"] == "grpc"
            for peer in rule["from"]
        ]
        for name, spec in policies.items()
    }
    assert set(reaching["embedding"]) == {"query"}
    assert set(reaching["query"]) == {"agent-execution", "true"}
    assert reaching["agent-execution"] == ["true"]
    for spec in policies.values():
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") for rule in spec["ingress"])


def _ports(spec: Any) -> set[Any]:
    return {port["port"] for rule in spec["egress"] for port in rule["ports"]}


def test_a_service_reaches_only_what_it_needs() -> None:
    small = {name: found["spec"] for name, found in of(render({}), "NetworkPolicy").items()}
    assert _ports(small["agent-execution"]) == {53, "grpc"}
    assert _ports(small["query"]) == {53, "grpc", 443}
    assert _ports(small["embedding"]) == {53, 443}
    full = {name: found["spec"] for name, found in of(render(FULL), "NetworkPolicy").items()}
    assert _ports(full["query"]) == {53, "grpc", 443, 5432, 19530, 6379, 4317}
    assert not {5432, 19530} & _ports(full["embedding"])
    for rule in small["query"]["egress"]:
        if rule["ports"][0]["port"] == 443:
            assert "169.254.0.0/16" in rule["to"][0]["ipBlock"]["except"]
    assert of(render(CASES["open"]), "NetworkPolicy") == {}
