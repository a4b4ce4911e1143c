"""What --json answers: each result as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from etl.db.accounts import Account
    from etl.ops.lateness import DelayStats, LatenessStats
    from etl.ops.status_query import AccountStatus
    from etl.reconcile import BalanceSummary, ReconciliationPeriod
    from etl.reports.export import ExportResult
    from etl.reports.html.totals import ReportTotals, Totals
    from etl.services.erase import ErasureResult
    from etl.services.purge import PurgeResult
    from etl.services.recent import RecentRecords
    from etl.services.run import RunResult

ONE_DAY: Final = timedelta(days=1)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=_as_json))


def result_as_json(report: RunResult, exit_code: int, redact: Callable[[str], str]) -> dict[str, Any]:
    """A run's report as one JSON object."""
    tally, windows = report.own, report.own_windows
    return {
        "account": report.account,
        "command": report.command,
        "dry_run": report.dry_run,
        "first_day": windows[0].first if windows else None,
        "last_day": windows[-1].last if windows else None,
        **tally.as_dict(),
        "suspect_days": tally.suspect_days,
        "also_fetched": [{"day": day, "suspect": day in report.also.suspect_days} for day in report.also_fetched],
        "sources": sorted(report.sources),
        "last_synced_date": report.watermark,
        **summary_as_json(report.balance),
        "seconds": round(report.seconds, 3),
        "exit_code": exit_code,
        "error": redact(str(report.error)) if report.error else None,
        "retired_at": report.retired_at,
    }


def status_as_json(status: AccountStatus) -> dict[str, Any]:
    """An account's status as one JSON object."""
    return {
        "account": status.account,
        "last_synced_date": status.last_synced_date,
        "hours_behind": None if status.hours_behind is None else round(status.hours_behind, 1),
        "last_success_at": status.last_success_at,
        "records": status.records,
        "open_days": status.open_days,
        "gaps": [[gap.first, gap.last] for gap in status.gaps],
        "suspect_days": [suspect.day for suspect in status.suspect_days],
        "suspect_reasons": {suspect.day.isoformat(): suspect.reason for suspect in status.suspect_days},
        "rejected": status.rejected,
        **summary_as_json(status.balance),
        "lateness": _lateness_as_json(status.lateness) if status.lateness else None,
        "last_run": status.last_runs[0] if status.last_runs else None,
        "retired_at": status.retired_at,
    }


def _lateness_as_json(lateness: LatenessStats) -> dict[str, Any]:
    def spread_as_json(spread: DelayStats | None) -> dict[str, Any] | None:
        if spread is None:
            return None
        days = {"p50_days": spread.p50, "p99_days": spread.p99, "max_days": spread.longest}
        return {"records": spread.records, **{name: round(delay / ONE_DAY, 2) for name, delay in days.items()}}

    return {
        "arrived": spread_as_json(lateness.arrived),
        "changed": spread_as_json(lateness.changed),
        "lookback_days": lateness.lookback,
        "missed": lateness.missed,
        "lookback_needed": lateness.needed,
    }


def summary_as_json(news: BalanceSummary | None) -> dict[str, Any]:
    """What is to be said of a balance, as parts of a JSON object."""
    return {
        "balance": news.balance if news else None,
        "balance_is_low": news.is_low if news else None,
        "unexplained": [period_as_json(pair) for pair in news.unexplained] if news else [],
        "restated": [period_as_json(pair) for pair in news.restated] if news else [],
        "waits_for": list(news.waits_for) if news else [],
    }


def period_as_json(pair: ReconciliationPeriod) -> dict[str, Any]:
    """A row of the balance proof as one JSON object; one that is not certain may be charges under way."""
    return {
        "opened_at": pair.opened_at,
        "closed_at": pair.closed_at,
        "opening": pair.opening,
        "charged": pair.charged,
        "top_ups": pair.top_ups,
        "closing": pair.closing,
        "carried": None if pair.waits else pair.carried,
        "restated": None if pair.waits else pair.restated,
        "unexplained": None if pair.waits else pair.unexplained,
        "finding": pair.finding,
        "certain": not pair.waits and (pair.is_certain or not pair.unexplained),
    }


def account_as_json(account: Account) -> dict[str, Any]:
    """An account as one JSON object."""
    return {
        "account": account.label,
        "created_at": account.created_at,
        "last_synced_date": account.last_synced_date,
        "retired_at": account.retired_at,
    }


def recent_as_json(account: str, recent: RecentRecords) -> dict[str, Any]:
    """The vendor's newest records as one JSON object."""
    return {
        "account": account,
        "records": [
            {**one.record._asdict(), "created_at": one.created_at, "stored": one.stored} for one in recent.records
        ],
        "missing": recent.missing,
        "rejected": [{"reason": item.reason, "payload": item.payload} for item in recent.rejected],
        "note": recent.note or None,
    }


def purge_as_json(purged: PurgeResult) -> dict[str, Any]:
    """What was purged of one account, or would be, as one JSON object."""
    return {
        "account": purged.account,
        "before": purged.before,
        "dry_run": purged.dry_run,
        "months": [{"month": month, **rows._asdict()} for month, rows in purged.months.items()],
        "unsettled": purged.still_in_lookback,
        "kept": [{"month": month, "reason": reason} for month, reason in purged.blocked.items()],
    }


def erasure_as_json(result: ErasureResult) -> dict[str, Any]:
    """What was removed from one account as one JSON object."""
    return {"account": result.account, "found": any(result.rows.values()), "rows": result.rows, "masked": result.masked}


def export_as_json(exported: ExportResult) -> dict[str, Any]:
    """What was exported as one JSON object."""
    return {
        "rows": exported.rows,
        "as_of": exported.selection.as_of,
        "anonymised": exported.anonymised,
        "unknown_days": exported.unknown_days,
        "purged_days": exported.purged_days,
    }


def figures_as_json(figures: ReportTotals) -> dict[str, Any]:
    """The head of a report as one JSON object; amounts are exact, as text."""
    return {
        "since": figures.since,
        "until": figures.until,
        **_sum_as_json(figures.total),
        "balance": figures.balance,
        "closed_through": figures.closed_through,
        "suspect_days": figures.suspect,
        "accounts": [
            {"account": label, **_sum_as_json(of), "balance": figures.balances.get(label)}
            for label, of in figures.by_account.items()
        ],
    }


def _sum_as_json(of: Totals) -> dict[str, Any]:
    return {
        "records": of.records,
        "delivered": of.delivered,
        "delivery_rate": of.delivery_rate,
        "spend": of.spend,
        "cost_per_delivery": of.cost_per_delivery,
    }


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value).__name__)
