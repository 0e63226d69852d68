"""What deploy/ says is what the programs take, and what Kubernetes takes. No cluster is needed."""

from __future__ import annotations

import copy
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from programs import BIN, ROOT, run
from service import Service

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = [f"overlays/{folder.name}" for folder in sorted((KUBERNETES / "overlays").iterdir())]
EVERYTHING = [*OVERLAYS, "kserve"]
VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
# Kinds that Kubernetes does not know by itself, and so has no schema for. What they refer to is compared below.
FOREIGN = {"InferenceService", "PrometheusRule", "ScaledObject", "ServiceMonitor", "ServingRuntime"}
KUBECTL = Path(sys.executable).with_name("kubectl")

Manifest = dict[str, Any]


@functools.cache
def render(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all(run(KUBECTL, "kustomize", KUBERNETES / overlay)))


def of_kind(overlay: str, kind: str) -> list[Manifest]:
    return [manifest for manifest in render(overlay) if manifest["kind"] == kind]


def only(overlay: str, kind: str) -> Manifest:
    (manifest,) = of_kind(overlay, kind)
    return manifest


def pod(overlay: str) -> Manifest:
    """The pod's specification, with the container's."""
    if overlay == "kserve":
        predictor = only("kserve", "InferenceService")["spec"]["predictor"]
        return {**predictor, "containers": only("kserve", "ServingRuntime")["spec"]["containers"]}
    return only(overlay, "Deployment")["spec"]["template"]["spec"]


def container(overlay: str) -> Manifest:
    (found,) = pod(overlay)["containers"]
    return found


def variables(overlay: str) -> dict[str, str]:
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(overlay, "ConfigMap")}
    sources = [source["configMapRef"]["name"] for source in container(overlay).get("envFrom", [])]
    assert sorted(sources) == sorted(maps)
    return {name: value for source in sources for name, value in maps[source].items()}


@functools.cache
def configuration(overlay: str) -> dict[str, str]:
    """The options in force in the container, as the program itself understands them."""
    arguments = [word.replace("{{.Name}}", "fma-books-11m") for word in container(overlay).get("args", [])]
    done = subprocess.run([BIN / "fma-server", *arguments, "--print-config"], capture_output=True, text=True,
                          env={**os.environ, **variables(overlay)}, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r'^([\w-]+)="?(.*?)"?$', done.stdout, re.M))


def ports(overlay: str) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(overlay)["ports"]}


def listened(overlay: str, option: str) -> int:
    return int(configuration(overlay)[option].rsplit(":", 1)[1])


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_overlay(version: str) -> None:
    for overlay in EVERYTHING:
        for manifest in render(overlay):
            if manifest["kind"] not in FOREIGN:
                kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_misspelt_field_would_be_found(version: str) -> None:
    wrong = copy.deepcopy(only("overlays/cpu", "Deployment"))
    spec = wrong["spec"]["template"]["spec"]
    spec["terminationGracePeriod"] = spec.pop("terminationGracePeriodSeconds")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


@pytest.mark.parametrize("overlay", EVERYTHING)
def test_every_variable_is_one_that_the_program_reads(overlay: str) -> None:
    known = set(re.findall(r"\(Env:(\w+)\)", run(BIN / "fma-server", "--help")))
    assert set(variables(overlay)) <= known
    assert configuration(overlay)["log-format"] == "json", "the variables, or the arguments, reach the program"


@pytest.mark.parametrize("overlay", EVERYTHING)
def test_ports_are_those_that_the_program_listens_on(overlay: str) -> None:
    of_container = ports(overlay)
    names = {"grpc": "listen", "h2c": "listen", "http": "http"}
    for name, port in of_container.items():
        assert port == listened(overlay, names[name])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container(overlay)[probe]["httpGet"]["port"]
        assert of_container.get(port, port) == listened(overlay, "http"), probe
    for service in of_kind(overlay, "Service"):
        for port in service["spec"]["ports"]:
            assert of_container[port["targetPort"]] == port["port"]


def test_balancers_know_the_same_ports() -> None:
    grpc, http = listened("overlays/cpu", "listen"), listened("overlays/cpu", "http")
    haproxy = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    servers = re.findall(r"^    server \S+ \S+:(\d+) check port (\d+)$", haproxy, re.M)
    assert servers == [(str(grpc), str(http))] * 3
    assert f"bind :{grpc} proto h2\n" in haproxy
    envoy = yaml.safe_load((ROOT / "deploy" / "envoy" / "envoy.yaml").read_text())
    (listener,) = envoy["static_resources"]["listeners"]
    assert listener["address"]["socket_address"]["port_value"] == grpc
    replicas = (ROOT / "deploy" / "envoy" / "replicas.yaml").read_text()
    assert re.findall(r"port_value: (\d+)", replicas) == [str(grpc)] * 3


@pytest.mark.parametrize("overlay", EVERYTHING)
def test_a_drain_ends_before_patience_does(overlay: str) -> None:
    command = container(overlay)["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    last_messages, last_spans = 2, 2  # docs/operations.md, "Signals and shutdown"
    needed = float(command[1]) + float(configuration(overlay)["drain-seconds"]) + last_messages + last_spans
    assert needed < pod(overlay)["terminationGracePeriodSeconds"] < needed + 30


@pytest.mark.parametrize("overlay", EVERYTHING)
def test_the_image_can_run_so(overlay: str) -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+):\d+$", dockerfile, re.M)
    security = {**pod(overlay).get("securityContext", {}), **container(overlay)["securityContext"]}
    assert (security["runAsUser"], security["runAsNonRoot"]) == (int(user), True)
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    version = run(BIN / "fma-server", "--version").split()[-1]
    assert re.fullmatch(rf"fma-server:{re.escape(version)}(-cuda)?", container(overlay)["image"])


def test_probes_ask_for_pages_that_there_are() -> None:
    with Service("--threads", 1) as server:
        for overlay in EVERYTHING:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert server.get(container(overlay)[probe]["httpGet"]["path"])[0] == 200
        for monitor in (only(overlay, "ServiceMonitor") for overlay in OVERLAYS):
            for endpoint in monitor["spec"]["endpoints"]:
                assert server.get(endpoint["path"])[0] == 200


def selectors(overlay: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Who selects pods, and by which labels."""
    for manifest in render(overlay):
        kind, spec = manifest["kind"], manifest.get("spec", {})
        if kind == "Service":
            yield kind, spec["selector"]
        elif kind in ("Deployment", "PodDisruptionBudget"):
            yield kind, spec["selector"]["matchLabels"]
        elif kind == "NetworkPolicy":
            yield kind, spec["podSelector"]["matchLabels"]
    for spread in pod(overlay)["topologySpreadConstraints"]:
        yield "topologySpreadConstraints", spread["labelSelector"]["matchLabels"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whoever_selects_pods_selects_the_replicas_and_nothing_else(overlay: str) -> None:
    labels = only(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for who, selected in selectors(overlay):
        assert selected == labels, who


def test_replicas_for_prefill_and_for_decode_stand_beside_each_other() -> None:
    overlays = {role: f"overlays/{role}" for role in ("prefill", "decode")}
    assert {configuration(overlay)["role"] for overlay in overlays.values()} == set(overlays)
    names = [{(m["kind"], m["metadata"]["name"]) for m in render(overlay)} for overlay in overlays.values()]
    assert names[0].isdisjoint(names[1]), "one would take the place of the other"
    selected = [dict(selectors(overlay))["Deployment"] for overlay in overlays.values()]
    assert selected[0] != selected[1]
    volumes = [pod(overlay)["volumes"] for overlay in overlays.values()]
    assert volumes[0] == volumes[1], "they share models and sessions"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_referred_to_is_there(overlay: str) -> None:
    deployment, spec = only(overlay, "Deployment"), pod(overlay)
    volumes = [volume["name"] for volume in spec["volumes"]]
    mounts = [mount["name"] for mount in container(overlay)["volumeMounts"]]
    assert sorted(volumes) == sorted(mounts)
    paths = tuple(mount["mountPath"] + "/" for mount in container(overlay)["volumeMounts"])
    files = ("model", "session-dir", "session-store-login", "session-store-ca", "tls-cert", "tls-key", "tls-client-ca",
             "tokens")  # fmt: skip
    for value in filter(None, (configuration(overlay)[name] for name in files)):
        assert f"{value}/".startswith(paths), value
    assert spec["serviceAccountName"] == only(overlay, "ServiceAccount")["metadata"]["name"]
    scalers = of_kind(overlay, "HorizontalPodAutoscaler") + of_kind(overlay, "ScaledObject")
    (scaled,) = (scaler["spec"]["scaleTargetRef"] for scaler in scalers)
    assert (scaled["kind"], scaled["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"], "the autoscaler has the say"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_http_port_is_for_monitoring_alone(overlay: str) -> None:
    (policy,) = of_kind(overlay, "NetworkPolicy")
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    by_port = {port["port"]: rule["from"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert set(by_port) == set(ports(overlay))
    monitoring = {"kubernetes.io/metadata.name": "monitoring"}
    assert by_port["http"] == [{"namespaceSelector": {"matchLabels": monitoring}}]
    with_http = [
        service
        for service in of_kind(overlay, "Service")
        if any(port["targetPort"] == "http" for port in service["spec"]["ports"])
    ]
    assert [service["spec"].get("clusterIP") for service in with_http] == ["None"]
    assert all(service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in of_kind(overlay, "Service"))


def test_the_policy_lets_servers_reach_their_store_and_no_other() -> None:
    for overlay in OVERLAYS:
        store = urlsplit(configuration(overlay)["session-store"])
        rules = only(overlay, "NetworkPolicy")["spec"]["egress"]
        reached = {port["port"] for rule in rules for port in rule["ports"]}
        assert reached == ({store.port, 53} if store.hostname else set()), overlay
        assert bool(store.hostname) != bool(configuration(overlay)["session-dir"]), "sessions are kept in one place"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_traces_reach_a_collector_with_any_overlay(overlay: str, tmp_path: Path) -> None:
    parts = {"resources": [KUBERNETES / overlay], "components": [KUBERNETES / "components" / "tracing"]}
    relative = {kind: [os.path.relpath(path, tmp_path) for path in paths] for kind, paths in parts.items()}
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({**head, **relative}))
    made = list(yaml.safe_load_all(run(KUBECTL, "kustomize", tmp_path)))
    for manifest in made:
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    (endpoint,) = (manifest["data"]["FMA_OTLP_ENDPOINT"] for manifest in made if manifest["kind"] == "ConfigMap")
    run(BIN / "fma-server", "--model", "m", "--otlp-endpoint", endpoint, "--print-config")
    (policy,) = (manifest["spec"] for manifest in made if manifest["kind"] == "NetworkPolicy")
    namespace = urlsplit(endpoint).hostname.split(".")[1]
    rule = {
        "ports": [{"port": urlsplit(endpoint).port}],
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}],
    }
    assert rule in policy["egress"]
    assert 53 in {port["port"] for egress in policy["egress"] for port in egress["ports"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_scrapes_find_the_replicas_under_the_job_of_the_alerts(overlay: str) -> None:
    monitor = only(overlay, "ServiceMonitor")["spec"]
    (service,) = (
        service
        for service in of_kind(overlay, "Service")
        if monitor["selector"]["matchLabels"].items() <= service["metadata"].get("labels", {}).items()
    )
    offered = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= offered
    alerts = (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()
    assert set(re.findall(r'job="([^"]+)"', alerts)) == {service["metadata"]["labels"][monitor["jobLabel"]]}


def plain(value: Any) -> Any:
    """The value with its texts on one line, because kustomize breaks them elsewhere; PromQL does not mind."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def test_the_rules_are_the_tested_ones() -> None:
    made = {rule["metadata"]["name"]: rule["spec"] for rule in of_kind("overlays/cpu", "PrometheusRule")}
    files = {"fma-server-rules": "rules.yml", "fma-server-alerts": "alerts.yml"}
    for name, file in files.items():
        tested = yaml.safe_load((ROOT / "docker" / "prometheus" / file).read_text())
        assert plain(made[name]) == plain(tested), "run deploy/kubernetes/components/monitoring/make-rules"
    assert set(made) == set(files)


def test_scaling_reads_metrics_that_there_are() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.M))
    read: set[str] = set()
    for overlay in OVERLAYS:
        for scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
            read |= {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
        for scaler in of_kind(overlay, "ScaledObject"):
            for trigger in scaler["spec"]["triggers"]:
                read |= set(re.findall(r"\bfma_\w+", trigger["metadata"]["query"]))
    assert read and read <= documented


def test_kserve_finds_runtime_and_protocol() -> None:
    runtime, model = only("kserve", "ServingRuntime"), only("kserve", "InferenceService")["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] in {known["name"] for known in runtime["spec"]["supportedModelFormats"]}
