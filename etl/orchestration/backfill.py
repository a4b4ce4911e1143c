"""The history of an account, a month at a time.

A partition is a separate run, and a run of Dagster costs seconds before it fetches anything: weekly partitions took
444 s for what one process did in 32. A month is the smallest unit that is worth a run, and one that finance closes.
"""

# Without `annotations` of `__future__`: Dagster reads the config of an op from the annotation itself.
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from etl import api
from etl.orchestration.keys import label_of_partition, partition_key
from etl.orchestration.outcome import run_metadata
from etl.orchestration.settings import read_orchestration_settings
from etl.orchestration.steps import MAX_RUNTIME, POOL, StepConfig, lookup, run_step


def history_asset(labels: Sequence[str], first_month: str, timezone: str) -> dg.AssetsDefinition:
    """The asset `charges_by_month`, partitioned by account and complete month of the vendor's zone."""
    accounts = dg.StaticPartitionsDefinition([partition_key(label) for label in labels])
    months = dg.MonthlyPartitionsDefinition(start_date=f"{first_month}-01", timezone=timezone)

    @dg.asset(
        name="charges_by_month",
        description="`billing-etl backfill` of one account and month.",
        partitions_def=dg.MultiPartitionsDefinition({"account": accounts, "month": months}),
        pool=POOL,
        kinds={"sql"},
    )
    def charges_by_month(context: dg.AssetExecutionContext, config: StepConfig) -> None:
        file = read_orchestration_settings().config_file
        key = context.partition_key.keys_by_dimension["account"]
        window = context.partition_time_window
        since, until = window.start.date(), window.end.date() - timedelta(days=1)
        label = lookup(lambda: label_of_partition(key, api.accounts(file)))

        def run(label: str) -> api.RunResult:
            return api.run(file, label, command="backfill", since=since, until=until, wait=config.wait)

        def add_metadata(result: api.RunResult) -> None:
            context.add_output_metadata(run_metadata(result))

        run_step(context.op_execution_context, config, [label], run, add_metadata)

    asset: dg.AssetsDefinition = charges_by_month
    return asset


def backfill_job(history: dg.AssetsDefinition, executor: dg.ExecutorDefinition) -> Any:
    """The job `backfill`."""
    return dg.define_asset_job("backfill", selection=[history], executor_def=executor, tags={MAX_RUNTIME: "21600"})
