"""Accounts for an orchestrator: their configuration, their stored rows and the vendor's records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import URL, text

from etl.db.engine import new_engine
from etl.sandbox import Dataset, Sandbox
from etl.sandbox.state import current_time
from support.run_helpers import token_of

DAYS = 10


@contextmanager
def ten_days() -> Iterator[Sandbox]:
    """The vendor with records of the ten days up to now; an orchestrator runs its jobs in the present."""
    now = current_time()
    with Sandbox(port=0, dataset=Dataset(seed=1, today=now.date(), days=DAYS, per_day=12, until=now.time())) as vendor:
        yield vendor


def write_accounts(
    folder: Path, vendor: Sandbox, urls: Mapping[str, URL], lines: Mapping[str, tuple[str, ...]] | None = None
) -> Path:
    """A TOML file with an account for each URL, and further lines for some."""
    first = min(record["created_at"] for record in vendor.dataset.records)[:10]
    shared = (f'start_date = "{first}"', "retry_attempts = 1", "retry_max_wait = 0", "database_wait = 0")
    text_lines = [*shared]
    for label, url in urls.items():
        own = (lines or {}).get(label, ())
        address = url.render_as_string(hide_password=False)
        text_lines += [f'[accounts."{label}"]', f'database_url = "{address}"', *own]
        for key, value in (("api_url", vendor.url), ("api_token", token_of(vendor, label))):
            if not any(line.startswith(f"{key} ") for line in own):
                text_lines.append(f'{key} = "{value}"')
    path = folder / "billing.toml"
    path.write_text("\n".join(text_lines), "utf-8")
    path.chmod(0o600)
    return path


def listed_rows(vendor: Sandbox) -> Counter[tuple[str, str, str]]:
    """The vendor's records by time, status and price."""
    return Counter(
        (record["created_at"].replace("T", " "), record["status_info"], f"{record['price']:.6f}")
        for record in vendor.dataset.records
    )


def stored_rows(url: URL, label: str) -> Counter[tuple[str, str, str]]:
    """The current records of an account in the same form, repeats counted."""
    rows: Counter[tuple[str, str, str]] = Counter()
    query = text("SELECT created_at, status_info, price, repeats FROM billing WHERE account = :label")
    engine = new_engine(url)
    with engine.connect() as connection:
        for created_at, info, price, repeats in connection.execute(query, {"label": label}):
            rows[str(created_at)[:19], info, f"{price:.6f}"] += repeats
    engine.dispose()
    return rows


def watermark_of(url: URL, label: str) -> str | None:
    """The last day of the unbroken run of complete days."""
    query = text("SELECT last_synced_date FROM freshness WHERE account = :label")
    engine = new_engine(url)
    with engine.connect() as connection:
        day = connection.scalar(query, {"label": label})
    engine.dispose()
    return None if day is None else str(day)


def last_closed_day() -> str:
    """Yesterday in the vendor's zone."""
    return str(current_time().date() - timedelta(days=1))
