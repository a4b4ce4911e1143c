"""The values for Dagster's Helm chart: the keys that the chart has, the limits of the example instance, a valid pod."""

from __future__ import annotations

import kubernetes_validate
import yaml
from support.deploy_paths import DEPLOY

VALUES = yaml.safe_load((DEPLOY / "dagster/values.yaml").read_text())
INSTANCE = yaml.safe_load((DEPLOY / "dagster/dagster.yaml").read_text())

CHART = {
    "global": {"postgresqlSecretName"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "deployments"},
    "runLauncher": {"type", "config"},
    "postgresql": {
        *("enabled", "postgresqlHost", "postgresqlUsername", "postgresqlDatabase", "postgresqlScheme", "service"),
    },
    "concurrency": {"enabled", "pools", "runs"},
    "dagsterDaemon": {"enabled", "runMonitoring", "runRetries"},
    "telemetry": {"enabled"},
}
"""The keys of the chart's values that are set, from its schema (helm/dagster/schema)."""


def test_every_key_is_a_key_of_the_chart():
    assert {name: set(value) for name, value in VALUES.items() if isinstance(value, dict)} == CHART
    assert [name for name in VALUES if name not in CHART] == ["generatePostgresqlPasswordSecret"]


def test_the_limits_are_those_of_the_example_instance():
    concurrency, example = VALUES["concurrency"], INSTANCE["concurrency"]
    assert concurrency["pools"] == {
        "granularity": example["pools"]["granularity"], "defaultLimit": example["pools"]["default_limit"],
    }  # fmt: skip
    assert concurrency["runs"]["maxConcurrentRuns"] == example["runs"]["max_concurrent_runs"]
    assert concurrency["runs"]["tagConcurrencyLimits"] == example["runs"]["tag_concurrency_limits"]
    retries, example = VALUES["dagsterDaemon"]["runRetries"], INSTANCE["run_retries"]
    assert (retries["maxRetries"], retries["retryOnAssetOrOpFailure"]) == (
        example["max_retries"], example["retry_on_asset_or_op_failure"],
    )  # fmt: skip
    assert VALUES["postgresql"]["postgresqlScheme"] == INSTANCE["storage"]["postgres"]["postgres_db"]["scheme"]


def test_the_code_server_is_a_valid_pod_with_a_read_only_configuration():
    [server] = VALUES["dagster-user-deployments"]["deployments"]
    assert server["dagsterApiGrpcArgs"] == ["--module-name", "etl.orchestration.dagster"]
    container = {key: server[key] for key in ("name", "env", "volumeMounts", "resources")}
    image = "{repository}:{tag}".format_map(server["image"])
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": server["name"]},
        "spec": {
            "containers": [container | {"image": image}], "volumes": server["volumes"],
            "securityContext": server["podSecurityContext"],
        },
    }  # fmt: skip
    kubernetes_validate.validate(pod, "1.31", strict=True)
    [mount] = server["volumeMounts"]
    [path] = [variable["value"] for variable in server["env"] if variable["name"] == "BILLING_CONFIG"]
    assert (path.rpartition("/")[0], mount["readOnly"]) == (mount["mountPath"], True)
    [volume] = server["volumes"]
    assert volume["secret"]["defaultMode"] == 0o440
