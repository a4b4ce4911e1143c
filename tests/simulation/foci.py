"""Combinations of freedoms that are too rare by chance: each is the setting of a known bug, or of a likely one.

The numbers are those of the known bugs in `without_fixes`.
"""

from __future__ import annotations

from typing import Final

FOCI: Final[dict[str, tuple[str, ...]]] = {
    "01 a limit of JSON": ("json_limit",),
    "01 a limit of JSON, on busy days": ("json_limit", "busy_days", "quiet_days"),
    "01 a limit of JSON, the CSV down": ("json_limit", "csv_outage"),
    "01 a limit of the CSV, JSON down": ("csv_limit", "json_outage"),
    "01 two limits": ("json_limit", "csv_limit"),
    "01 a limit, in other runs": ("json_limit", "backfills", "deep"),
    "01 no limit, days of one size": ("level", "window"),
    "02 a day that JSON shows empty": ("json_hides", "quiet_days"),
    "02 a day that JSON alone shows empty": ("json_hides", "newest_down"),
    "02 a day that the CSV shows empty": ("csv_hides", "json_outage"),
    "03, 04 JSON that cannot be read": ("json_unreadable",),
    "03, 04 JSON that cannot be read, the CSV down": ("json_unreadable", "csv_outage"),
    "03, 04 a CSV that cannot be read": ("csv_unreadable", "json_outage"),
    "04 corrections that cannot be read": ("json_unreadable", "corrections", "late_records"),
    "05 keys as numbers in JSON": ("json_phone", "json_code", "odd_keys"),
    "05 keys in scientific notation": ("json_scientific", "csv_scientific"),
    "05 keys that a spreadsheet has touched": ("csv_phone", "csv_code", "json_outage", "odd_keys"),
    "05 words for nothing": ("csv_nothing", "json_outage", "odd_keys", "odd_texts"),
    "06 a field given twice in a large answer": ("json_doubled", "long_texts", "busy_days"),
    "08 texts longer than the database takes": ("huge_texts",),
    "09 noise of floats": ("json_price", "csv_price", "json_outage"),
    "09 numbers that can be read two ways": ("json_thousands", "csv_thousands", "large_prices"),
    "10 offsets, where a clock is put back": ("json_time", "zone", "autumn"),
    "10 offsets in both sources": ("json_time", "csv_time", "zone", "autumn", "json_outage"),
    "12 the first day of a contract": ("contract",),
    "a backfill before the first sync": ("backfill_first",),
    "days that no question reaches": ("refuses_future", "end_excluded", "cut_zone"),
    "the newest records as proof": ("refuses_future", "csv_outage"),
    "a quiet account": ("three_records", "history"),
    "quiet days": ("quiet_days", "missed_nights"),
    "records that come in during the run": ("arrivals", "late_records"),
    "sources that lag behind": ("json_lags", "csv_lags", "hour"),
    "sources that take turns": ("json_outage", "csv_outage", "csv_lacks"),
    "requests that are rejected for their size": ("json_refuses", "csv_refuses"),
    "requests that are rejected for their size, no start date": ("json_refuses", "csv_refuses", "default_start"),
    "a limit of JSON that leaves a random part": ("json_limit", "json_sampled"),
    "a limit of the CSV that leaves a random part, JSON down": ("csv_limit", "csv_sampled", "json_outage"),
    "a limit of JSON on the records of a day": ("json_daily", "busy_days"),
    "a contract younger than 30 days": ("default_start", "later_contract"),
    "requests that are rejected for their size, the CSV down": ("json_refuses", "csv_outage"),
    "requests that fail for their size, the CSV down": ("json_fails", "csv_outage"),
    "no records, as an error": ("json_denies", "csv_denies", "quiet_days"),
    "no records, as an error, and a young account": ("json_denies", "default_start", "later_contract"),
    "no records, as an error, and days that JSON shows empty": ("json_denies", "json_hides", "csv_outage"),
}
