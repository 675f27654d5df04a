"""The Helm chart: rendered, checked against Kubernetes' schemas, and what it promises."""

import json
from copy import deepcopy
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import pytest

from config_core.settings import Settings
from tests.deploy.chart import CASES, CHART, FULL, SCALED, SERVICES, environ, of, pods, render
from tests.deploy.dockerfile import stages
from tests.deploy.starting import IDENTITY, TOKEN, tls_secret, would_start

KUBERNETES = ("1.27", "1.37")


@pytest.mark.parametrize("case", CASES)
def test_it_is_without_fault_for_helm(case: str) -> None:
    report = helm.lint(CHART, deepcopy(dict(CASES[case])), strict=True)
    assert report["errors"] == []
    assert [found for found in report["messages"] if found["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("case", CASES)
def test_each_object_is_what_kubernetes_takes(case: str, version: str) -> None:
    documents = render(CASES[case])
    assert {*SERVICES} == set(of(documents, "Deployment"))
    for document in documents:
        if document["apiVersion"].partition("/")[0].count(".") > 1 or "cert-manager" in str(
            document["apiVersion"]
        ):
            continue  # of cert-manager and the Prometheus operator: no schema of theirs is here
        kubernetes_validate.validate(document, version, strict=True)


def test_an_unknown_field_would_be_found() -> None:
    document = render({})[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**document, "speck": {}}, KUBERNETES[1], strict=True)


@pytest.mark.parametrize("case", CASES)
def test_a_pod_may_do_as_little_as_it_can(case: str) -> None:
    user = int(stages()[-1].last("USER").text.partition(":")[0])
    for pod in pods(render(CASES[case])).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == user
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # The Services' variables would be taken for settings: CASCADA_QUERY_PORT=tcp://…
        assert pod["enableServiceLinks"] is False
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"] == "cascada:0.1.0"
        assert container["resources"]["limits"]["memory"]
        writable = {
            mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")
        }
        assert writable == {"/tmp", "/data", "/run/cascada"}  # noqa: S108 # the pod's own


@pytest.mark.parametrize("case", CASES)
def test_secrets_are_files_that_follow_their_changes_and_never_variables(case: str) -> None:
    for name, pod in pods(render(CASES[case])).items():
        [container] = pod["containers"]
        assert "envFrom" not in container
        assert all(set(found) == {"name", "value"} for found in container["env"])
        assert all("subPath" not in mount for mount in container["volumeMounts"])
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
            if volume["name"] == "token":
                assert volume["secret"]["items"] == [{"key": name, "path": "token"}]


def test_probes_ask_the_service_that_runs_there() -> None:
    for name, pod in pods(render({})).items():
        [container] = pod["containers"]
        assert container["args"] == ["serve", name]
        ready = container["readinessProbe"]
        assert ready["exec"]["command"] == ["cascada", "health", name]
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["exec"]["command"] == ["cascada", "health", name, "--alive"]
        # The command itself waits for 3 s.
        assert ready["timeoutSeconds"] > 3


def test_a_pod_has_time_to_settle_and_to_finish_what_it_does() -> None:
    for pod in pods(render({"shutdown": {"settleSeconds": 7, "graceSeconds": 60}})).values():
        settings = Settings.read(environ(pod) | {"CASCADA_SERVICE_TOKEN_FILE": ""})
        assert (settings.settle_seconds, settings.grace_seconds) == (7, 60)
        assert pod["terminationGracePeriodSeconds"] > 67


def test_clients_spread_their_calls_over_headless_services() -> None:
    documents = render({}, name="blue")
    services = of(documents, "Service")
    assert {found["spec"]["clusterIP"] for found in services.values()} == {"None"}
    targets = {
        "blue-cascada-agent-execution": ("CASCADA_QUERY_TARGET", "blue-cascada-query", 50052),
        "blue-cascada-query": ("CASCADA_EMBEDDING_TARGET", "blue-cascada-embedding", 50053),
    }
    for name, (variable, service, port) in targets.items():
        assert environ(pods(documents)[name])[variable] == f"dns:///{service}:{port}"
        assert services[service]["spec"]["ports"][0]["port"] == port
    outside = of(render(CASES["balanced-outside"]), "Service")["agent-execution"]["spec"]
    assert (outside["type"], outside.get("clusterIP")) == ("LoadBalancer", None)


def test_several_pods_have_a_budget_and_one_alone_has_none() -> None:
    budgets = of(render({}), "PodDisruptionBudget")
    assert set(budgets) == {"agent-execution", "embedding"}
    for name, found in of(render(FULL), "PodDisruptionBudget").items():
        assert found["spec"]["maxUnavailable"] == 1
        assert found["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == name
    assert set(of(render(FULL), "PodDisruptionBudget")) == set(SERVICES)


def test_autoscaling_goes_by_requests_in_flight() -> None:
    assert of(render({}), "HorizontalPodAutoscaler") == {}
    documents = render(FULL)
    scalers = of(documents, "HorizontalPodAutoscaler")
    assert set(scalers) == set(SERVICES)
    for name, found in scalers.items():
        [metric] = found["spec"]["metrics"]
        assert metric["pods"]["metric"] == {"name": "cascada_requests_in_flight"}
        assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "16"}
        assert found["spec"]["scaleTargetRef"]["name"] == f"cascada-{name}"
        # Otherwise every upgrade of the release would undo what the autoscaler did.
        assert "replicas" not in of(documents, "Deployment")[name]["spec"]


def test_one_query_pod_owns_the_file_and_a_server_is_shared() -> None:
    documents = render({})
    assert of(documents, "Deployment")["query"]["spec"]["strategy"] == {"type": "Recreate"}
    assert set(of(documents, "PersistentVolumeClaim")) == {"store"}
    assert of(render(FULL), "PersistentVolumeClaim") == {}
    for wrong in ({"replicas": 2}, SCALED):
        with pytest.raises(helm.HelmRenderError, match=r"store\.secretName"):
            render({"query": wrong})


def test_what_cannot_start_is_not_rendered() -> None:
    with pytest.raises(helm.HelmRenderError, match="allowInsecure"):
        render({"tls": {"enabled": False}})
    with pytest.raises(helm.HelmRenderError, match="issuer"):
        render({"tls": {"certManager": {"enabled": True}}})


def test_certificates_carry_the_names_that_are_called() -> None:
    documents = render(FULL)
    certificates = of(documents, "Certificate")
    for name, pod in pods(documents).items():
        [secret] = [found for found in pod["volumes"] if found["name"] == "tls"]
        spec = certificates[name]["spec"]
        assert spec["secretName"] == secret["secret"]["secretName"]
        assert f"cascada-{name}" in spec["dnsNames"]
        assert {"server auth", "client auth"} <= set(spec["usages"])


@pytest.mark.parametrize("case", ["full", "defaults"])
async def test_services_would_start_with_what_a_pod_is_given(case: str, tmp_path: Path) -> None:
    documents = render({**CASES[case], "configuration": IDENTITY})
    files = {
        "configuration": of(documents, "ConfigMap")["configuration"]["data"],
        "token": {"token": TOKEN},
        "store": {"url": "postgresql://cascada:secret-0123456789@database/cascada"},
        "limits": {"url": "rediss://:secret-0123456789@redis"},
        "fingerprint": {"key": "fingerprint-0123456789"},
    }
    folders = {"tls": tls_secret(tmp_path / "tls")}
    for volume, content in files.items():
        folders[volume] = tmp_path / volume
        folders[volume].mkdir()
        for name, text in content.items():
            (folders[volume] / name).write_text(text, encoding="utf-8")
    for name, pod in pods(documents).items():
        mounts = {
            mount["mountPath"]: folders[mount["name"]]
            for mount in pod["containers"][0]["volumeMounts"]
            if mount["name"] in folders
        }
        process = await would_start(environ(pod), mounts)
        assert process.tls is not None
        assert process.outgoing.tls is not None
        if case == "full" and name == "query":
            assert process.settings.store_url == files["store"]["url"]


def test_the_configuration_arrives_as_it_was_given() -> None:
    found = of(render({"configuration": IDENTITY}), "ConfigMap")["configuration"]
    assert json.loads(found["data"]["cascada.json"]) == IDENTITY
