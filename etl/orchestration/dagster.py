"""The Dagster definitions: `dagster dev -m etl.orchestration.dagster` (extra `dagster`).

Importing this module reads nothing. Dagster calls `defs` when it loads the definitions; that reads the labels of the
accounts, for the partitions, and the vendor's zone, for the schedules. `docs/how-to/dagster.md` describes the jobs.
"""

from __future__ import annotations

import multiprocessing

import dagster as dg

from etl import api
from etl.orchestration.backfill import backfill_job, history_asset
from etl.orchestration.checks import account_checks, checks_schedule
from etl.orchestration.nightly import charges_asset, nightly_job, nightly_schedules
from etl.orchestration.settings import OrchestrationSettings, name_variable, read_orchestration_settings


@dg.definitions
def defs() -> dg.Definitions:
    """The jobs, assets, checks and schedules.

    Raises:
        DagsterInvalidDefinitionError: A setting is wrong, or the configuration cannot be read.
    """
    try:
        settings = read_orchestration_settings()
        labels = api.accounts(settings.config_file)
        timezone = api.vendor_timezone(settings.config_file).key
        executor = executor_of(settings)
    except api.ConfigError as error:
        raise dg.DagsterInvalidDefinitionError(f"billing-etl: {name_variable(error)}") from None
    # A run of one step needs no second process; with Celery it has to leave the machine of the daemon.
    of_one_step = executor if settings.executor == "celery" else dg.in_process_executor
    nightly = nightly_job(executor)
    history = history_asset(labels, settings.first_month, timezone)
    return dg.Definitions(
        assets=[charges_asset(labels), history],
        asset_checks=[account_checks],
        jobs=[nightly, backfill_job(history, of_one_step)],
        schedules=[*nightly_schedules(nightly, timezone), checks_schedule(of_one_step, timezone)],
        executor=executor,
    )


def executor_of(settings: OrchestrationSettings) -> dg.ExecutorDefinition:
    """The executor of the steps of a run.

    Raises:
        ConfigError: The package of the executor is not installed.
    """
    try:
        if settings.executor == "celery":
            from dagster_celery import celery_executor

            return celery_executor  # Celery reads the broker's URL, a secret, from CELERY_BROKER_URL itself
        if settings.executor == "k8s":
            from dagster_k8s import k8s_job_executor

            return k8s_job_executor
    except ImportError as error:
        raise api.ConfigError(f"BILLING_EXECUTOR={settings.executor} needs a package: {error.name}") from None
    if settings.executor == "in_process":
        return dg.in_process_executor
    # A fork server imports the program once for all steps.
    method: dict[str, dict[str, object]]
    method = {"forkserver": {}} if "forkserver" in multiprocessing.get_all_start_methods() else {"spawn": {}}
    return dg.multiprocess_executor.configured({"start_method": method}, name="multiprocess")
