"""An example for Airflow 3: the nightly job, one mapped task for each account. docs/how-to/airflow.md describes it.

Copy it into the folder of DAGs. The environment of the workers needs billing-etl, and this once:

    airflow pools set billing 8 "accounts fetched at the same time"
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task

ZONE = "Europe/Moscow"  # BILLING_TIMEZONE
POOL = "billing"  # its slots are the total of all runs
log = logging.getLogger(__name__)


@dag(
    dag_id="billing_etl",
    schedule=CronTriggerTimetable("30 1 * * *", timezone=ZONE),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # with one task for each account: never two requests at once for one token
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["billing"],
)
def billing_etl() -> None:
    """Sync every account."""

    @task
    def accounts() -> list[list[str]]:
        """The accounts of the configuration; those that share a token stand together, and run one after another."""
        from airflow.sdk.exceptions import AirflowFailException

        from etl import api

        try:
            return api.accounts_by_token(os.environ.get("BILLING_CONFIG"))
        except api.ConfigError as error:
            raise AirflowFailException(f"exit code 78: {error}") from None

    @task(pool=POOL, map_index_template="{{ task.op_kwargs['labels'] | join(', ') }}")
    def sync(labels: list[str]) -> list[dict[str, Any]]:
        """Sync the accounts; the exit code decides about retries. Returns what Airflow shows as XCom."""
        from airflow.sdk.exceptions import AirflowException, AirflowFailException

        from etl import api
        from etl.orchestration.outcome import NextStep, next_step, run_metadata

        shown, again, final = [], [], []
        for label in labels:
            try:
                result = api.run(os.environ.get("BILLING_CONFIG"), label, command="sync")
            except api.ConfigError as error:
                final.append(f"{label}: exit code 78: {error}")
                continue
            for reason in result.review_reasons:
                log.warning("%s: %s", label, reason)
            shown.append(run_metadata(result))
            problem = f"{label}: exit code {result.exit_code}: {result.error}"
            match next_step(result.exit_code):
                case NextStep.RETRY:
                    again.append(problem)
                case NextStep.FAIL:
                    final.append(problem)
        if again:
            raise AirflowException("; ".join(again + final))  # 69, 74, 75: retried after the delay
        if final:
            raise AirflowFailException("; ".join(final))  # 77, 78 and bugs: a retry does not help
        return shown

    sync.expand(labels=accounts())


billing_etl()
