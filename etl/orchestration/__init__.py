"""Dagster definitions on top of `etl.api`, and what any orchestrator needs to decide about a result.

outcome     the next step after an exit code, the reasons for a review, metadata of a result; pure
keys        names of accounts that Dagster accepts as steps and partitions; pure
settings    variables of the environment that only orchestrators read
steps       runs of one account as steps: retries, warnings, metadata, signals
nightly     the nightly job, one step for each account
backfill    the history, an account and month for each partition
checks      asset checks: freshness, suspect days, unexplained money
dagster     the definitions, for `dagster dev -m etl.orchestration.dagster`

Nothing else in `etl` imports this package. `outcome` needs neither Dagster nor Airflow.
"""
