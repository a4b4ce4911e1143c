"""The nightly job: a step for each account, mapped over the accounts of the configuration when the run starts."""

# Without `annotations` of `__future__`: Dagster reads the config of an op from the annotation itself.
from collections.abc import Iterator, Sequence
from typing import Final

import dagster as dg

from etl import api
from etl.orchestration.keys import labels_of_step, partition_key, step_key
from etl.orchestration.outcome import run_metadata
from etl.orchestration.settings import read_orchestration_settings
from etl.orchestration.steps import MAX_RUNTIME, POOL, StepConfig, lookup, run_step

CHARGES: Final = dg.AssetKey("charges")


class NightConfig(StepConfig):
    """The config of a step of the nightly job.

    Attributes:
        deep: Compare every stored day that the vendor still serves.
    """

    deep: bool = False


def charges_asset(labels: Sequence[str]) -> dg.AssetSpec:
    """The charges of the accounts, one partition each, which the nightly job updates."""
    return dg.AssetSpec(
        CHARGES,
        description="The charges of the accounts up to their watermarks, in the view `billing`; written by `nightly`.",
        partitions_def=dg.StaticPartitionsDefinition([partition_key(label) for label in labels]),
        kinds={"sql"},
    )


# The values between the two ops are the keys of the steps: nothing is stored, and workers need no shared folder.
@dg.op(out=dg.DynamicOut(dg.Nothing), description="The accounts of the configuration; those with one token together.")
def accounts_to_sync() -> Iterator[dg.DynamicOutput[None]]:
    """Yield a mapping key for each step."""
    for labels in lookup(lambda: api.accounts_by_token(read_orchestration_settings().config_file)):
        yield dg.DynamicOutput(None, mapping_key=step_key(labels))


@dg.op(
    ins={"account": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    pool=POOL,
    description="`billing-etl sync` of one account.",
)
def sync_account(context: dg.OpExecutionContext, config: NightConfig) -> None:
    """Sync the account, or accounts, of the mapping key."""
    file = read_orchestration_settings().config_file
    labels = lookup(lambda: labels_of_step(context.get_mapping_key() or "", api.accounts(file)))

    def run(label: str) -> api.RunResult:
        return api.run(file, label, command="sync", wait=config.wait, deep=config.deep)

    def materialize(result: api.RunResult) -> None:
        partition = partition_key(result.account)
        context.log_event(dg.AssetMaterialization(CHARGES, metadata=run_metadata(result), partition=partition))

    run_step(context, config, labels, run, materialize)


def nightly_job(executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """The job `nightly`."""

    @dg.job(
        name="nightly",
        executor_def=executor,
        description="Sync every account, one step each.",
        tags={"billing/job": "nightly", MAX_RUNTIME: "21600"},
    )
    def nightly() -> None:
        accounts_to_sync().map(lambda account: sync_account(account=account))

    job: dg.JobDefinition = nightly
    return job


def nightly_schedules(job: dg.JobDefinition, timezone: str) -> list[dg.ScheduleDefinition]:
    """Every night at 01:30, and on Sundays at 04:30 with every day that the vendor still serves."""
    deep = {"ops": {"sync_account": {"config": {"deep": True, "wait": 3600.0}}}}
    return [
        dg.ScheduleDefinition(
            name="nightly",
            job=job,
            cron_schedule="30 1 * * *",
            execution_timezone=timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        ),
        dg.ScheduleDefinition(
            name="weekly_deep_sync",
            job=job,
            cron_schedule="30 4 * * 0",
            execution_timezone=timezone,
            run_config=deep,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        ),
    ]
