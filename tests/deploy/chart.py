"""The Helm chart, rendered with the values of several installations."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import helm_python as helm
import yaml

from tests.deploy.dockerfile import ROOT
from tests.deploy.starting import IDENTITY

CHART = ROOT / "deploy" / "helm" / "cascada"
SERVICES = ("agent-execution", "query", "embedding")
KEYS = {"agent-execution": "agentExecution", "query": "query", "embedding": "embedding"}

SCALED = {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 12}}
FULL: Mapping[str, Any] = {
    "configuration": IDENTITY,
    "store": {"secretName": "store"},
    "limits": {"secretName": "limits", "onFailure": "closed"},
    "fingerprintKey": {"secretName": "fingerprint"},
    "secretFiles": [{"name": "providers", "secretName": "providers", "services": ["query"]}],
    "telemetry": {
        "otlpEndpoint": "http://collector.monitoring:4317",
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "tls": {"mutual": True, "certManager": {"enabled": True, "issuer": {"name": "ours"}}},
    "imagePullSecrets": [{"name": "registry"}],
    **{
        key: {
            **SCALED,
            "annotations": {"example.org/owner": "search"},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "variables": {"CASCADA_LOG_LEVEL": "debug"},
        }
        for key in KEYS.values()
    },
}
CASES: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "full": FULL,
    "existing-secrets": {
        "existingConfiguration": {"secret": "configuration"},
        "tls": {"secretNames": {"query": "our-query-certificate"}},
        "serviceTokens": {"secretName": "our-tokens"},
    },
    "open": {"tls": {"enabled": False}, "allowInsecure": True, "networkPolicy": {"enabled": False}},
    "balanced-outside": {"agentExecution": {"service": {"type": "LoadBalancer"}}},
}

Documents = Sequence[dict[str, Any]]


def render(values: Mapping[str, Any], name: str = "cascada") -> Documents:
    """Every object of a release, none of whose values are changed."""
    with helm.Chart.load(CHART) as chart:
        manifests = chart.render(deepcopy(dict(values)), name=name, namespace="qa")
    texts = [text for path, text in manifests.items() if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def of(documents: Documents, kind: str) -> Mapping[str, Any]:
    """The documents of a kind, by name."""
    found = [document for document in documents if document["kind"] == kind]
    return {document["metadata"]["name"].removeprefix("cascada-"): document for document in found}


def pods(documents: Documents) -> Mapping[str, Any]:
    """What each Deployment says of its pods."""
    return {
        name: found["spec"]["template"]["spec"]
        for name, found in of(documents, "Deployment").items()
    }


def environ(pod: Any) -> dict[str, str]:
    """The variables of a pod's container."""
    return {found["name"]: found["value"] for found in pod["containers"][0].get("env", [])}
