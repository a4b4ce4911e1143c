"""The JSON documents of --json."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from etl.checks.runner import CheckResult
    from etl.db.accounts import Account
    from etl.db.rejects import QuarantinedRecord
    from etl.db.run_history import JournalLine, Run
    from etl.ops.lateness import DelayStats, LatenessStats
    from etl.ops.status_query import AccountStatus
    from etl.reconcile import BalanceSummary, ReconciliationPeriod
    from etl.reports.export import ExportResult
    from etl.reports.html.page import ReportData
    from etl.reports.html.totals import Totals
    from etl.services.erase import ErasureResult
    from etl.services.purge import PurgeResult
    from etl.services.recent import RecentRecords
    from etl.services.run import SyncResult
    from etl.services.run_history import RunDetails

ONE_DAY: Final = timedelta(days=1)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=_as_json))


def result_as_json(result: SyncResult, exit_code: int, redact: Callable[[str], str]) -> dict[str, Any]:
    """The result of a run as one JSON object."""
    counts, windows = result.requested_counts, result.requested_windows
    return {
        "account": result.account,
        "command": result.command,
        "dry_run": result.dry_run,
        "first_day": windows[0].first if windows else None,
        "last_day": windows[-1].last if windows else None,
        **counts.as_dict(),
        "acknowledged": len(counts.acknowledged),
        "changed_days": result.counts.changed_days,
        "suspect_days": counts.suspect_days,
        "besides": [{"day": day, "suspect": day in result.besides_counts.suspect_days} for day in result.besides],
        "sources": sorted(result.sources),
        "last_synced_date": result.watermark,
        **summary_as_json(result.balance),
        "seconds": round(result.seconds, 3),
        "exit_code": exit_code,
        "error": redact(str(result.error)) if result.error else None,
        "retired_at": result.retired_at,
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
        "acknowledged": status.acknowledged,
        **summary_as_json(status.balance),
        "lateness": _lateness_as_json(status.lateness) if status.lateness else None,
        "last_run": status.last_runs[0] if status.last_runs else None,
        "retired_at": status.retired_at,
        "problem": status.problem,
    }


def check_as_json(check: CheckResult, redact: Callable[[str], str]) -> dict[str, Any]:
    """The result of one check as one JSON object."""
    return {
        "name": check.name,
        "ok": check.error is None,
        "warning": check.is_warning,
        "message": redact(str(check.error or check.message)),
    }


def _lateness_as_json(lateness: LatenessStats) -> dict[str, Any]:
    def delays_as_json(stats: DelayStats | None) -> dict[str, Any] | None:
        if stats is None:
            return None
        delays = {"p50_days": stats.p50, "p99_days": stats.p99, "max_days": stats.longest}
        return {"records": stats.records, **{name: round(delay / ONE_DAY, 2) for name, delay in delays.items()}}

    return {
        "arrived": delays_as_json(lateness.arrived),
        "changed": delays_as_json(lateness.changed),
        "lookback_days": lateness.lookback,
        "missed": lateness.missed,
        "lookback_needed": lateness.needed,
    }


def summary_as_json(summary: BalanceSummary | None) -> dict[str, Any]:
    """The keys of a JSON object that describe a balance."""
    return {
        "balance": summary.balance if summary else None,
        "balance_is_low": summary.is_low if summary else None,
        "unexplained": [period_as_json(period) for period in summary.unexplained] if summary else [],
        "restated": [period_as_json(period) for period in summary.restated] if summary else [],
        "waits_for": list(summary.waits_for) if summary else [],
    }


def period_as_json(period: ReconciliationPeriod) -> dict[str, Any]:
    """A row of the balance proof as one JSON object; `certain` is false where charges may be under way."""
    return {
        "opened_at": period.opened_at,
        "closed_at": period.closed_at,
        "opening": period.opening,
        "charged": period.charged,
        "top_ups": period.top_ups,
        "closing": period.closing,
        "carried": None if period.waits else period.carried,
        "restated": None if period.waits else period.restated,
        "unexplained": None if period.waits else period.unexplained,
        "finding": period.finding,
        "certain": not period.waits and (period.is_certain or not period.unexplained),
    }


def account_as_json(account: Account) -> dict[str, Any]:
    """An account as one JSON object."""
    return {
        "account": account.label,
        "created_at": account.created_at,
        "last_synced_date": account.last_synced_date,
        "retired_at": account.retired_at,
        "problem": account.problem,
    }


def recent_as_json(account: str, recent: RecentRecords) -> dict[str, Any]:
    """The vendor's newest records as one JSON object."""
    return {
        "account": account,
        "records": [
            {**item.record._asdict(), "created_at": item.created_at, "stored": item.stored} for item in recent.records
        ],
        "missing": recent.missing,
        "rejected": [{"reason": rejected.reason, "payload": rejected.payload} for rejected in recent.rejected],
        "note": recent.note or None,
    }


def purge_as_json(result: PurgeResult) -> dict[str, Any]:
    """The months of one account that were purged, or would be, as one JSON object."""
    return {
        "account": result.account,
        "before": result.before,
        "dry_run": result.dry_run,
        "months": [{"month": month, **rows._asdict()} for month, rows in result.months.items()],
        "unsettled": result.still_in_lookback,
        "kept": [{"month": month, "reason": reason} for month, reason in result.blocked.items()],
    }


def erasure_as_json(result: ErasureResult) -> dict[str, Any]:
    """The rows of one account that were erased, as one JSON object."""
    return {"account": result.account, "found": any(result.rows.values()), "rows": result.rows, "masked": result.masked}


def run_as_json(run: Run) -> dict[str, Any]:
    """A row of the run history as one JSON object."""
    return asdict(run) | {"seconds": run.seconds}


def run_details_as_json(details: RunDetails) -> dict[str, Any]:
    """A run and the complete days that it changed as one JSON object; amounts are strings."""
    return {
        "run": run_as_json(details.run),
        "changed_days": [
            {"day": day.day, "delta": day.delta, "lines": [_line_as_json(line) for line in day.lines]}
            for day in details.changed_days
        ],
    }


def _line_as_json(line: JournalLine) -> dict[str, Any]:
    return {"kind": line.kind, "created_at": line.created_at, "phone": line.phone, "delta": line.delta}


def rejected_as_json(record: QuarantinedRecord) -> dict[str, Any]:
    """A quarantined record as one JSON object, without its payload."""
    return asdict(record)


def export_as_json(result: ExportResult) -> dict[str, Any]:
    """The extent of an export as one JSON object."""
    return {
        "rows": result.rows,
        "as_of": result.selection.as_of,
        "anonymised": result.anonymised,
        "unknown_days": result.unknown_days,
        "purged_days": result.purged_days,
    }


def report_as_json(report: ReportData) -> dict[str, Any]:
    """The figures of a report as one JSON object; amounts are strings, exact to the last digit."""
    totals = report.totals
    return {
        "currency": report.currency,
        "other_currencies": report.other_currencies,
        "budget": report.budget and asdict(report.budget),
        "since": totals.since,
        "until": totals.until,
        **_sums_as_json(totals.total),
        "balance": totals.balance,
        "closed_through": totals.closed_through,
        "suspect_days": totals.suspect,
        "accounts": [
            {"account": label, **_sums_as_json(sums), "balance": totals.balances.get(label)}
            for label, sums in totals.by_account.items()
        ],
    }


def _sums_as_json(sums: Totals) -> dict[str, Any]:
    return {
        "records": sums.records,
        "delivered": sums.delivered,
        "delivery_rate": sums.delivery_rate,
        "spend": sums.spend,
        "cost_per_delivery": sums.cost_per_delivery,
    }


def _as_json(value: Any) -> Any:
    """Encode a value that the json module does not know."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value).__name__)
