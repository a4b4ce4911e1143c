"""Runs jobs inside Dagster's own environment, and prints what its instance recorded; a program of its own.

    python dagster_probe.py RUNS     runs one after another, a JSON list of {"job", "config", "partition"}
    python dagster_probe.py --all    prints all runs of the instance

Prints a JSON list of runs: their status, the steps with their outcome, materializations and checks.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import dagster as dg

from etl.orchestration.dagster import defs

OUTCOMES = {"STEP_START", "STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY", "STEP_RESTARTED", "STEP_SKIPPED"}


def execute(instance: dg.DagsterInstance, job: str, config: dict[str, Any], partition: str | None) -> str:
    """Run a job in this process; returns the run's id."""
    definition = defs().resolve_job_def(job)
    result = definition.execute_in_process(
        instance=instance, run_config=config, raise_on_error=False, partition_key=partition
    )
    return result.run_id


def recorded(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What Dagster recorded of a run."""
    [record] = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    run = record.dagster_run
    logs = instance.all_logs(run_id)
    steps: dict[str, list[str]] = {}
    times: dict[str, list[float]] = {}
    materializations, checks, failures = [], [], {}
    for entry in logs:
        event = entry.dagster_event
        if event is None:
            continue
        kind = event.event_type_value
        if event.step_key and kind in OUTCOMES:
            steps.setdefault(event.step_key, []).append(kind.removeprefix("STEP_"))
            times.setdefault(event.step_key, []).append(entry.timestamp)
        if kind == "ASSET_MATERIALIZATION":
            found = event.step_materialization_data.materialization
            values = {name: value.value for name, value in found.metadata.items()}
            materializations.append([found.asset_key.to_user_string(), str(found.partition), values])
        if kind == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            checks.append([check.check_name, check.passed, check.severity.value, check.metadata["accounts"].value])
        if kind == "STEP_FAILURE":
            data = event.step_failure_data
            failures[event.step_key] = data.user_failure_data.description if data.user_failure_data else str(data.error)
    messages = [[entry.level, entry.user_message] for entry in logs if entry.dagster_event is None]
    return {
        "id": run_id,
        "job": run.job_name,
        "status": run.status.value,
        "start": record.start_time,
        "end": record.end_time,
        "tags": dict(run.tags),
        "parent": run.parent_run_id,
        "steps": steps,
        "times": times,
        "materializations": materializations,
        "checks": checks,
        "failures": failures,
        "messages": messages,
    }


def main() -> None:
    """See the module."""
    with dg.DagsterInstance.get() as instance:
        if sys.argv[1] == "--all":
            ids = [run.run_id for run in instance.get_runs()]
        else:
            ids = [
                execute(instance, run["job"], run.get("config", {}), run.get("partition"))
                for run in json.loads(sys.argv[1])
            ]
        sys.stdout.write(json.dumps([recorded(instance, run_id) for run_id in ids], default=str))


if __name__ == "__main__":
    main()
