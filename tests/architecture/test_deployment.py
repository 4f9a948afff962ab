import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.architecture.source_files import ROOT

SECRETS = {"POSTGRES_PASSWORD": "only-for-this-check", "BROKER_PASSWORD": "only-for-this-check"}
SERVICES = {"postgres", "redis", "migrate", "api", "worker", "upkeep"}
# Only where the operator allows kernels of users' own trees.
ON_DEMAND = {"builder"}
# Started by hand, and over when it is done.
BY_HAND = {"keeper"}


def pinned(lock_name):
    text = (ROOT / lock_name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", text, flags=re.MULTILINE))


def compose_command():
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run(
            [docker, "compose", "version"], capture_output=True, check=False
        ).returncode
        == 0
    ):
        return [docker, "compose"]
    standalone = shutil.which("docker-compose")
    return [standalone] if standalone else None


@pytest.fixture(scope="module")
def stack():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture
def run_compose(tmp_path):
    """What Compose says of the file with the given secrets alone: a .env file is not beside it."""
    file = Path(shutil.copy(ROOT / "docker-compose.yml", tmp_path))
    return functools.partial(_run_compose, file)


def _run_compose(file, environment):
    command = compose_command()
    if command is None:
        pytest.skip(
            "no Docker Compose client here: docker-compose.yml is read by the other tests only"
        )
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [*command, "--file", file, "config"],
        cwd=file.parent,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_accepts_the_file(run_compose):
    done = run_compose(SECRETS)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == SERVICES


@pytest.mark.parametrize("secret", SECRETS)
def test_compose_refuses_to_start_without_a_secret(run_compose, secret):
    done = run_compose({name: value for name, value in SECRETS.items() if name != secret})
    assert done.returncode != 0
    assert secret in done.stderr


def test_the_stack_has_every_service_and_watches_each(stack):
    assert set(stack["services"]) == SERVICES | ON_DEMAND | BY_HAND
    for name in (SERVICES | ON_DEMAND) - {"migrate"}:
        assert "healthcheck" in stack["services"][name], f"{name} has no health check"
    assert all(stack["services"][name]["profiles"] for name in BY_HAND | ON_DEMAND)


def test_secrets_have_no_default_in_the_file(stack):
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    uses = re.findall(r"\$\{(\w*PASSWORD)([^}]*)\}", text)
    assert {name for name, _ in uses} == set(SECRETS)
    assert all(rest.startswith(":?") for _, rest in uses)


def test_only_the_api_is_published_and_on_loopback_alone(stack):
    published = {
        name: service["ports"] for name, service in stack["services"].items() if "ports" in service
    }
    assert set(published) == {"api"}
    assert all(str(port).startswith("127.0.0.1:") for port in published["api"])


def test_workers_can_be_scaled(stack):
    worker = stack["services"]["worker"]
    assert not {"container_name", "ports"} & set(worker)


def test_a_worker_that_is_scaled_shares_nothing_that_only_one_may_write(stack):
    volumes = stack["services"]["worker"]["volumes"]
    assert "blobs:/var/lib/refault/blobs:ro" in volumes
    assert "schedule" not in " ".join(stack["services"]["worker"]["command"])


def test_our_containers_have_no_rights_they_do_not_need(stack):
    for name in ("migrate", "api", "worker", "builder", "upkeep", "keeper"):
        service = stack["services"][name]
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("user") not in {"root", "0"}, name
        assert not service.get("privileged"), name


def test_what_must_outlive_a_container_is_on_a_named_volume(stack):
    used = {
        str(volume).partition(":")[0]
        for service in stack["services"].values()
        for volume in service.get("volumes", [])
    }
    assert used == set(stack["volumes"])
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    made = re.search(r"install --directory --owner refault[^\n]*", dockerfile).group()
    # A volume belongs to root unless the image has the folder.
    assert "/var/lib/refault/backups" in made


def test_users_kernels_are_off_unless_the_operator_says_so(stack):
    for name in ("api", "worker", "builder"):
        assert stack["services"][name]["environment"]["REFAULT_BUILDS"] == "${BUILDS:-false}"
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    _, _, builder = dockerfile.partition("FROM worker AS builder\n")
    assert " gcc " in builder
    assert "COPY demo/traces refault/golden/captures" in builder
    assert builder.rindex("USER refault") > builder.rindex("USER root")
    assert " gcc " not in dockerfile.removesuffix(builder)


def test_operators_can_set_what_is_theirs_without_editing_the_file(stack):
    api, worker = (stack["services"][name]["environment"] for name in ("api", "worker"))
    assert api["REFAULT_METRICS_OPEN"] == "${METRICS_OPEN:-false}"
    for environment in (api, worker):
        assert environment["REFAULT_WEBHOOK_NETWORKS"] == "${WEBHOOK_NETWORKS:-}"
        assert environment["REFAULT_LOG_LEVEL"] == "${LOG_LEVEL:-info}"


def test_the_broker_keeps_what_it_is_given(stack):
    command = " ".join(stack["services"]["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command


def test_the_image_has_two_targets_and_neither_runs_as_root():
    stages = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")[1:]
    targets = {stage.split(" AS ")[1].split()[0]: stage for stage in stages}
    assert {"api", "worker"} <= set(targets)
    for name in ("api", "worker"):
        users = re.findall(r"^USER (\S+)", targets[name], flags=re.MULTILINE)
        assert users, f"target {name} names no user"
        assert users[-1] not in {"root", "0"}


@pytest.mark.parametrize(
    "lock_name", ["requirements.lock", "requirements-api.lock", "requirements-worker.lock"]
)
def test_every_version_is_pinned_by_hash(lock_name):
    text = (ROOT / lock_name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(pinned(lock_name))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_images_run_the_versions_that_were_tested():
    tested = pinned("requirements.lock").items()
    api, worker = pinned("requirements-api.lock"), pinned("requirements-worker.lock")
    assert api.items() <= tested
    assert worker.items() <= tested
    assert "numba" not in api
    assert "numba" in worker
    assert not {"fastapi", "pytest"} & set(worker)
    assert "pytest" not in api
