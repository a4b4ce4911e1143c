"""Conditions on a row of the day ledger, `synced_days`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement

from etl.db.tables import synced_days

_day = synced_days.c

IS_COMPLETE: Final[ColumnElement[bool]] = _day.first_closed_at.is_not(None)
"""An answer has shown the whole day after it was over."""
IS_SUSPECT: Final[ColumnElement[bool]] = _day.suspect_since.is_not(None)
"""The newest answer was implausible, and the stored records were kept."""
IS_PURGED: Final[ColumnElement[bool]] = _day.purged_at.is_not(None)
"""The rows of the day are deleted."""
