"""A result for an orchestrator: the next step by exit code, metadata."""

from __future__ import annotations

from enum import Enum
from typing import Final

from etl.api import RunResult, RunRows
from etl.exit_codes import EXIT_CODES, ExitCode

FIRST_SIGNAL_CODE: Final = 128
"""Codes above it are 128 + the number of a signal."""


class NextStep(Enum):
    """The next step after an exit code."""

    DONE = "done"
    REVIEW = "done, but needs attention"
    RETRY = "retry later"
    FAIL = "an operator is needed; a retry does not help"


_NEXT_STEPS: Final = {
    ExitCode.OK: NextStep.DONE,
    ExitCode.NEEDS_REVIEW: NextStep.REVIEW,
    ExitCode.UNAVAILABLE: NextStep.RETRY,
    ExitCode.DATABASE: NextStep.RETRY,
    ExitCode.LOCKED: NextStep.RETRY,
}


def next_step(exit_code: int) -> NextStep:
    """The next step after a run that ended so; a signal (above 128) is retried, an unknown code is not."""
    if exit_code > FIRST_SIGNAL_CODE:
        return NextStep.RETRY
    return _NEXT_STEPS.get(ExitCode(exit_code), NextStep.FAIL) if exit_code in EXIT_CODES else NextStep.FAIL


def run_metadata(result: RunResult) -> dict[str, str | int | float]:
    """A result as flat values for a table: amounts and days are texts, unknown values are left out."""
    values: dict[str, str | int | float | None] = {
        "account": result.account,
        "command": result.command,
        "exit_code": int(result.exit_code),
        "seconds": round(result.seconds, 3),
        "requested": ", ".join(f"{window.first} to {window.last}" for window in result.requested) or None,
        "besides": ", ".join(map(str, result.besides)) or None,
        "records": result.records,
        "spend": _text(result.spend),
        "balance": _text(result.balance),
        "unexplained": _text(result.unexplained),
        "watermark": _text(result.watermark),
        "review": "\n".join(result.review_reasons) or None,
        "notices": "\n".join(result.notices) or None,
        "retired": "yes" if result.retired else None,
        "error": result.error,
    }
    values |= _row_counts("requested", result.requested_rows)
    if result.besides:
        values |= _row_counts("besides", result.besides_rows)
    return {name: value for name, value in values.items() if value is not None}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _row_counts(prefix: str, rows: RunRows) -> dict[str, int]:
    return {f"{prefix}_{name}": getattr(rows, name) for name in RunRows.__dataclass_fields__}
