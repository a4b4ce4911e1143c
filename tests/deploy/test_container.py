"""The image, the compose file and the CronJob, checked by their own validators."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import jsonschema
import pytest
import yaml
from support.deploy_paths import CHECKOUT, DEPLOY

DOCKERFILE = DEPLOY / "container/Dockerfile"
LOCKS = CHECKOUT / "requirements"
INSTRUCTIONS = list(runpy.run_path(str(DEPLOY / "container/try_image.py"))["read_instructions"](DOCKERFILE.read_text()))


def of_word(word: str) -> list[str]:
    return [rest for other, rest in INSTRUCTIONS if other == word]


def test_the_dockerfile_passes_hadolint():
    done = subprocess.run([beside_python("hadolint"), DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_a_pinned_base_a_numeric_user_and_runs_the_program_directly():
    assert of_word("ENTRYPOINT") == ['["billing-etl"]']
    assert json.loads(of_word("CMD")[0]) == ["sync"]
    user, group = map(int, of_word("USER")[-1].split(":"))
    assert user > 0 < group
    base, *stages = of_word("FROM")
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+ AS base", base)
    assert [stage.partition(" ")[0] for stage in stages] == ["base", "base"]


def test_every_package_of_the_image_has_a_hash():
    installed = [step for run in of_word("RUN") for step in run.split("&&") if re.search(r"pip \S*.*\binstall\b", step)]
    assert len(installed) == 3
    assert all("--require-hashes" in step or "--no-deps --no-index" in step for step in installed)


def test_the_build_context_contains_only_copied_files():
    everything, *exceptions = [
        line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if not line.startswith(("#", "**/"))
    ]
    copied = {source for rest in of_word("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]}
    assert everything == "*"
    assert {exception.removeprefix("!") for exception in exceptions} == copied
    assert all((CHECKOUT / source).exists() for source in copied)
    assert not any(fnmatch(source, "*secret*") or fnmatch(source, "*.env") for source in copied)


@pytest.mark.parametrize("lock", ["run.lock", "server.lock"])
def test_production_packages_have_the_versions_of_the_tests(lock):
    assert pins(lock) <= pins("dev.lock")


def test_the_server_lock_has_drivers_and_no_build_tools():
    names = {pin.partition("==")[0] for pin in pins("server.lock")}
    assert {"psycopg", "psycopg-binary", "pymysql", "sqlalchemy", "requests"} <= names
    assert not {"hatchling", "editables", "pip", "pytest"} & names


def pins(lock: str) -> set[str]:
    return set(re.findall(r"(?m)^\S+==\S+", (LOCKS / lock).read_text()))


def test_the_cronjob_is_valid_and_passes_restricted_pod_security():
    manifest = DEPLOY / "kubernetes/cronjob.yaml"
    command = [beside_python("kubernetes-validate"), "--strict", manifest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spec = yaml.safe_load(manifest.read_text())["spec"]
    assert (spec["timeZone"], spec["concurrencyPolicy"]) == ("Europe/Moscow", "Forbid")
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"  # without it there is no podFailurePolicy
    # The level "restricted" of the pod security standards.
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == of_word("USER")[-1]
    assert job["podFailurePolicy"]["rules"][-1]["onExitCodes"]["containerName"] == container["name"]


def test_the_compose_file_follows_the_specification():
    schema = json.loads((CHECKOUT / "tests/data/compose-spec/compose-spec.json").read_text())
    compose = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(compose)
    job = compose["services"]["billing-etl"]
    assert job["depends_on"] == {"database": {"condition": "service_healthy"}}
    build = job["build"]
    assert (DEPLOY / "container" / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE.resolve()


@pytest.mark.parametrize("file", ["container/compose.yaml", "kubernetes/cronjob.yaml"])
def test_secrets_are_files_and_never_values(file):
    text = (DEPLOY / file).read_text()
    settings = set(re.findall(r"\b(?:BILLING|POSTGRES)_\w*(?:TOKEN|PASSWORD|DATABASE_URL)\w*", text))
    assert settings
    assert all(setting.endswith("_FILE") for setting in settings)


def beside_python(name: str) -> Path:
    return Path(sys.executable).with_name(name)
