"""The manifests for Kubernetes: what they set is known, and no pod may do more than it needs.

With kustomize on this machine the overlays are built too.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from payments.gateway.settings import GatewaySettings
from payments.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.parent for path in (KUBERNETES / "overlays").glob("*/kustomization.yaml"))
KNOWN = {
    *(f"PAYMENTS_{name.upper()}" for name in Settings.model_fields),
    *(f"PAYMENTS_GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields),
}
STOP_SECONDS = 10
"""What a process may need beyond its drain, or the requests in flight."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


BASE = [each for path in sorted((KUBERNETES / "base").glob("*.yaml")) for each in documents(path)]
PODS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"]
    for each in BASE
    if "template" in each.get("spec", {})
}


def variables() -> Iterator[str]:
    """Yield every variable that a manifest sets."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        for document in documents(path):
            for generator in document.get("configMapGenerator", ()):
                yield from (literal.partition("=")[0] for literal in generator["literals"])
            pod = document.get("spec", {}).get("template", {}).get("spec", {})
            for container in pod.get("containers", ()):
                yield from (variable["name"] for variable in container.get("env", ()))


def test_every_variable_is_a_setting() -> None:
    found = set(variables())
    assert "PAYMENTS_INSTANCE_ID" in found
    assert found - KNOWN == set()


def test_there_is_a_pod_of_each_kind() -> None:
    assert set(PODS) == {"payments-worker", "payments-gateway", "payments-topics"}


@pytest.mark.parametrize("name", list(PODS))
def test_no_pod_has_more_rights_than_it_needs(name: str) -> None:
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp"}  # noqa: S108


@pytest.mark.parametrize("name", list(PODS))
def test_no_pod_gets_variables_of_services(name: str) -> None:
    """A Service named payments-gateway would set PAYMENTS_GATEWAY_PORT=tcp://10.0.0.1:80."""
    assert PODS[name]["enableServiceLinks"] is False


def test_a_worker_has_time_to_drain_and_no_probe_that_kills_it_while_it_restores() -> None:
    pod = PODS["payments-worker"]
    drain_seconds = Settings().drain_timeout_seconds
    assert pod["terminationGracePeriodSeconds"] >= drain_seconds + STOP_SECONDS
    [worker] = pod["containers"]
    assert "livenessProbe" not in worker
    assert "startupProbe" not in worker, "it kills a container whose takeover takes longer"
    assert worker["readinessProbe"]["exec"]["command"] == ["payments", "health"]
    assert worker["env"] == [
        {
            "name": "PAYMENTS_INSTANCE_ID",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
        }
    ]


def test_a_gateway_has_time_for_the_requests_in_flight() -> None:
    pod = PODS["payments-gateway"]
    [gateway] = pod["containers"]
    [command, seconds] = gateway["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    needed_seconds = int(seconds) + GatewaySettings().deadline_seconds
    assert pod["terminationGracePeriodSeconds"] >= needed_seconds + STOP_SECONDS


def test_a_finished_job_is_deleted_so_that_its_template_can_be_changed() -> None:
    [job] = [each for each in BASE if each["kind"] == "Job"]
    assert job["spec"]["ttlSecondsAfterFinished"] <= 600


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_names_files_that_are_there(overlay: Path) -> None:
    [kustomization] = documents(overlay / "kustomization.yaml")
    patches = [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
    for name in (*kustomization["resources"], *patches):
        assert (overlay / name).exists(), name


def test_rows_on_disk_are_on_a_volume_of_each_worker() -> None:
    [patch] = documents(KUBERNETES / "components" / "rows-on-disk" / "volumes.yaml")
    [worker] = patch["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each["value"] for each in worker["env"]}
    [mount] = worker["volumeMounts"]
    settings = Settings(
        state_dir=values["PAYMENTS_STATE_DIR"], state_memory_mb=values["PAYMENTS_STATE_MEMORY_MB"]
    )
    assert settings.state_dir is not None
    assert settings.state_dir.parent == Path(mount["mountPath"])
    [claim] = patch["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == mount["name"]
    memory = PODS["payments-worker"]["containers"][0]["resources"]["limits"]["memory"]
    assert memory == "1Gi", "it has room for PAYMENTS_STATE_MEMORY_MB and the worker itself"


def test_an_overlay_with_rows_on_disk_can_be_built(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    demo = tmp_path / "kubernetes" / "overlays" / "demo"
    with (demo / "kustomization.yaml").open("a") as kustomization:
        kustomization.write("components: [../../components/rows-on-disk]\n")
    [stateful] = [each for each in built(demo) if each["kind"] == "StatefulSet"]
    pod = stateful["spec"]["template"]["spec"]
    [worker] = pod["containers"]
    assert {each["name"] for each in worker["env"]} == {
        "PAYMENTS_INSTANCE_ID",
        "PAYMENTS_STATE_DIR",
        "PAYMENTS_STATE_MEMORY_MB",
    }
    assert {each["mountPath"] for each in worker["volumeMounts"]} == {"/tmp", "/var/lib/payments"}  # noqa: S108
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert stateful["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "state"


def built(overlay: Path) -> list[dict[str, Any]]:
    """Return what kustomize makes of an overlay; skips the test without kustomize."""
    kustomize = shutil.which("kustomize")
    if kustomize is None:
        pytest.skip("kustomize is not installed")
    found = subprocess.run([kustomize, "build", overlay], check=True, capture_output=True)
    return list(yaml.safe_load_all(found.stdout))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_can_be_built(overlay: Path) -> None:
    found = built(overlay)
    kinds = {each["kind"] for each in found}
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "PodDisruptionBudget"} <= kinds
    [stateful] = [each for each in found if each["kind"] == "StatefulSet"]
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "payments", "the network policy finds the pod"
