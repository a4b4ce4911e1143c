"""Asset checks of the accounts: each names the accounts that fail it."""

# Without `annotations` of `__future__`: Dagster reads the config of an op from the annotation itself.
from collections.abc import Iterable, Iterator

import dagster as dg

from etl import api
from etl.orchestration.nightly import CHARGES
from etl.orchestration.settings import name_variable, read_orchestration_settings
from etl.orchestration.steps import lookup, place_of


class CheckConfig(dg.Config):
    """The config of the checks.

    Attributes:
        max_age_hours: Maximum hours since the end of the last complete day, as `status --max-age`.
    """

    max_age_hours: float = 36.0


def freshness_problem(status: api.AccountStatus, max_age_hours: float) -> str | None:
    """Why an account is not fresh; None if it is."""
    if not status.is_older_than(max_age_hours):
        return None
    if status.hours_behind is None:
        return "has no complete day yet"
    return f"complete up to {status.last_synced_date}, {status.hours_behind:.0f} hours behind"


def suspect_problem(status: api.AccountStatus) -> str | None:
    """The suspect days of an account; None without any."""
    return "; ".join(f"{suspect.day}: {suspect.reason}" for suspect in status.suspect_days) or None


def money_problem(status: api.AccountStatus) -> str | None:
    """Decreases of the balance that no record explains; None without any. An increase is an unrecorded top-up."""
    periods = status.balance.unexplained if status.balance else ()
    amounts = [str(period.unexplained) for period in periods if period.unexplained < 0]
    return f"the balance changed without a record: {', '.join(amounts)}" if amounts else None


@dg.multi_asset_check(
    name="account_checks",
    specs=[
        dg.AssetCheckSpec("freshness", asset=CHARGES, description="Every account has a recent complete day."),
        dg.AssetCheckSpec("suspect_days", asset=CHARGES, description="No account has a suspect day."),
        dg.AssetCheckSpec(
            "unexplained_money", asset=CHARGES, description="Records explain each decrease of a balance."
        ),
    ],
)
def account_checks(config: CheckConfig) -> Iterator[dg.AssetCheckResult]:
    """Read the status of each account once. Retired accounts are left out; an unreadable one fails all checks."""
    file = read_orchestration_settings().config_file
    problems: dict[str, dict[str, str]] = {"freshness": {}, "suspect_days": {}, "unexplained_money": {}}
    for label, status in _read_statuses(file):
        found = dict.fromkeys(problems, status) if isinstance(status, str) else _problems_of(status, config)
        for check, problem in found.items():
            if problem:
                problems[check][label] = problem
    for check, failing in problems.items():
        yield dg.AssetCheckResult(
            asset_key=CHARGES,
            check_name=check,
            passed=not failing,
            severity=dg.AssetCheckSeverity.ERROR if check == "freshness" else dg.AssetCheckSeverity.WARN,
            description=f"accounts: {len(failing)}" if failing else None,
            metadata={"accounts": dg.MetadataValue.json(failing)},
        )


def _problems_of(status: api.AccountStatus, config: CheckConfig) -> dict[str, str | None]:
    if status.retired_at is not None:
        return {}
    return {
        "freshness": freshness_problem(status, config.max_age_hours),
        "suspect_days": suspect_problem(status),
        "unexplained_money": money_problem(status),
    }


def _read_statuses(file: str | None) -> Iterable[tuple[str, api.AccountStatus | str]]:
    """The status of each account, or why it cannot be read."""
    for label in lookup(lambda: api.accounts(file)):
        try:
            yield label, api.status(file, label)
        except api.BillingError as error:
            yield label, f"its status cannot be read: {name_variable(error)}"
        except Exception as error:  # noqa: BLE001 - as for a step: its text may contain a secret
            yield label, f"its status cannot be read: {place_of(error)}"


def checks_schedule(executor: dg.ExecutorDefinition, timezone: str) -> dg.ScheduleDefinition:
    """The job `checks`, every morning at 07:00: a missed night is detected too."""
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(account_checks), executor_def=executor)
    return dg.ScheduleDefinition(
        name="checks",
        job=job,
        cron_schedule="0 7 * * *",
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
