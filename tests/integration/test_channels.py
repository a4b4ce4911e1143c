"""Channels of stored records: in the views, after a change of the rules, an upgrade, a kill, and an erasure."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, event, select, text, update
from support.engines import open_engine
from support.run_helpers import settings_of

from etl.channels import DEFAULT_RULES, ChannelRule
from etl.db.channels import MAX_RECORDS_AT_ONCE, classify_day, find_unclassified, load_channels
from etl.db.run_store import read_revision
from etl.db.tables import billing_records, channel_totals, synced_days
from etl.reports.columns import COLUMNS
from etl.reports.query import ExportFilter, iter_batches
from etl.services.erase import erase_number
from etl.services.run import ProgressListener, RunRequest
from etl.services.sync import run_sync
from etl.services.verify import verify_account

MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "channels.md"
OWN = (ChannelRule("message", min_price=Decimal(1)), ChannelRule("call", status_info="ok"))


def charge(moment, price="0.2", status=1, info="ok", phone="89243555100", code="0371"):
    return {
        "created_at": moment, "code_auth": code, "status": status, "status_info": info, "phone": phone,
        "price": Decimal(price),
    }  # fmt: skip


RECORDS = [
    charge("2026-03-02T01:00:00", "3.25", info="SMS delivered"),
    *[charge("2026-03-02T02:00:00", "0.1", code="")] * 3,
    charge("2026-03-02T03:00:00", "0", status=0, info="no answer"),
    charge("2026-03-05T01:00:00", "0.6", info="Telegram: ok", phone="89240000001"),
    charge("2026-03-05T02:00:00", phone="89240000001"),
    charge("2026-03-11T01:00:00", "5", info="ok"),
]
"""Channels by the default rules: sms, three times call back, unknown; telegram, flash call; unknown."""


class Shop:
    """A vendor and an account that is synced from it."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, date(2026, 3, 1), lookback_days=3)
        self.engine = open_engine(url)
        self.now = MORNING
        self.messages = []
        vendor.dataset.replace(RECORDS)

    def sync(self, command="sync", since=None, until=None, **changes):
        self.now += timedelta(minutes=1)
        self.messages.clear()
        listener = ProgressListener(self.messages.append, lambda _count: None, lambda _window, _tally: None)
        result = run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until),
            listener,
            redact=str,
            clock=lambda: self.now,
        )
        assert result.error is None
        return result

    def query(self, sql):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    def channels(self):
        """The channel of each record, and the totals by day and channel."""
        rows = self.query("SELECT channel, records, delivered, spend FROM daily_channels ORDER BY day, channel")
        totals = [(name, int(records), int(delivered), Decimal(str(spend))) for name, records, delivered, spend in rows]
        return [name for (name,) in self.query("SELECT channel FROM billing ORDER BY created_at")], totals

    def revision(self):
        with self.engine.connect() as connection:
            return read_revision(connection, 1)

    def changed_days(self, after):
        return [str(day) for (day,) in self.query(f"SELECT day FROM synced_days WHERE revision > {after} ORDER BY day")]

    def differences(self):
        return verify_account(self.settings, None, None, ("json",), redact=str, clock=lambda: self.now).differences


@pytest.fixture
def shop(database_url, sandbox):
    shop = Shop(database_url, sandbox)
    shop.sync()
    return shop


BY_DEFAULT = (
    ["sms", "call back", "unknown", "telegram", "flash call", "unknown"],
    [
        ("call back", 3, 3, Decimal("0.3")),
        ("sms", 1, 1, Decimal("3.25")),
        ("unknown", 1, 0, Decimal(0)),
        ("flash call", 1, 1, Decimal("0.2")),
        ("telegram", 1, 1, Decimal("0.6")),
        ("unknown", 1, 1, Decimal(5)),
    ],
)
BY_OWN = (
    ["message", "call", "unknown", "call", "call", "message"],
    [
        ("call", 3, 3, Decimal("0.3")),
        ("message", 1, 1, Decimal("3.25")),
        ("unknown", 1, 0, Decimal(0)),
        ("call", 2, 2, Decimal("0.8")),
        ("message", 1, 1, Decimal(5)),
    ],
)


def test_each_record_has_a_channel_and_each_day_its_totals(shop):
    assert shop.channels() == BY_DEFAULT
    assert shop.query("SELECT delivery_rate, cost_per_delivery FROM daily_channels WHERE records = 3") == [
        (pytest.approx(1), pytest.approx(Decimal("0.1"), abs=0)) if shop.engine.dialect.name != "sqlite" else (1.0, 0.1)
    ]
    assert not any("channels" in message for message in shop.messages)


def test_the_queries_of_the_page_count_repeats_and_add_no_currencies(shop, sandbox):
    by_channel, texts = re.findall(r"```sql\n(.+?)```", PAGE.read_text("utf-8"), re.DOTALL)
    listed = {(row[0], Decimal(str(row[2])), int(row[3])) for row in shop.query(texts)}
    assert listed == {
        ("sms", Decimal("3.25"), 1), ("call back", Decimal("0.1"), 3), ("unknown", Decimal(0), 1),
        ("telegram", Decimal("0.6"), 1), ("flash call", Decimal("0.2"), 1), ("unknown", Decimal(5), 1),
    }  # fmt: skip
    other = settings_of(shop.settings.database_url, sandbox, date(2026, 3, 1), account="kz", currency="KZT")
    shop.sync(account=other.account, api_token=other.api_token, currency="KZT")
    names = ("call back", "flash call", "sms", "telegram", "unknown")
    assert sorted(row[:2] for row in shop.query(by_channel)) == [
        (name, code) for name in names for code in ("KZT", "RUB")
    ]


def test_totals_follow_late_corrected_and_withdrawn_records(shop):
    shop.vendor.dataset.replace([
        charge("2026-03-05T01:00:00", "3", info="now an sms", phone="89240000001"),
        charge("2026-03-05T03:00:00", "0.6", info="by Telegram"),
    ])  # fmt: skip
    shop.sync("backfill", date(2026, 3, 5), date(2026, 3, 5))
    assert shop.query("SELECT channel, records FROM daily_channels WHERE day = '2026-03-05' ORDER BY 1") == [
        ("sms", 1), ("telegram", 1)
    ]  # fmt: skip
    assert not [day for day in shop.differences() if day.day == date(2026, 3, 5)]


def test_the_channel_of_a_changed_record_is_unknown_as_of_an_earlier_time(shop):
    shop.sync(lookback_days=31)
    before = shop.now
    shop.vendor.dataset.replace([
        charge("2026-03-02T01:00:00", "3.25", info="SMS delivered", status=0),
        charge("2026-03-05T01:00:00", "0.7", info="Telegram: ok", phone="89240000001"),
    ])  # fmt: skip
    shop.sync("backfill", date(2026, 3, 1), date(2026, 3, 10))
    with shop.engine.connect() as connection:
        rows = [row for batch in iter_batches(connection, ExportFilter(as_of=before)) for row in batch]
    found = [(row[list(COLUMNS).index("price")], row[list(COLUMNS).index("channel")]) for row in rows]
    assert found == [
        ("3.250000", "sms"), ("0.100000", "call back"), ("0.000000", "unknown"), ("0.600000", None),
        ("0.200000", "flash call"),
    ]  # fmt: skip


def test_changed_rules_reclassify_all_stored_days_in_the_next_run(shop):
    before = shop.revision()
    journal = shop.query("SELECT COUNT(*) FROM restatements")
    shop.sync(channels=OWN)
    assert shop.channels() == BY_OWN
    assert any(
        "the rules for channels are new: 11 stored days are classified again" in message for message in shop.messages
    )
    assert any("5 records have another channel" in message for message in shop.messages)
    assert shop.changed_days(before) == ["2026-03-02", "2026-03-05", "2026-03-11"]
    assert shop.query("SELECT COUNT(*) FROM restatements") == journal
    assert shop.query("SELECT COUNT(*) FROM synced_days WHERE restated_at IS NOT NULL") == [(0,)]
    settled = shop.revision()
    shop.sync(channels=OWN)
    assert shop.revision() == settled
    assert shop.messages == []
    assert shop.differences() == []


def test_rows_from_before_the_upgrade_are_classified_by_the_next_run(shop):
    with shop.engine.begin() as connection:
        connection.execute(update(billing_records).values(channel=None))
        connection.execute(update(synced_days).values(channel_rules=None))
        connection.execute(channel_totals.delete())
    assert shop.channels() == ([None] * 6, [])
    assert shop.differences() == []
    shop.sync()
    assert shop.channels() == BY_DEFAULT


def test_a_dry_run_classifies_nothing(shop):
    before = shop.channels()
    run_sync(
        replace(shop.settings, channels=OWN),
        RunRequest("sync", dry_run=True),
        ProgressListener(lambda _text: None, lambda _count: None, lambda _window, _tally: None),
        redact=str,
        clock=lambda: shop.now,
    )
    assert shop.channels() == before


def test_a_classification_that_is_interrupted_is_completed_by_the_next_run(shop):
    class Killed(BaseException):
        pass

    def kill(_connection, _cursor, statement, parameters, _context, _executemany):
        if "SET channel_rules" in statement and re.search(r"2026-03-05|2026, 3, 5", repr(parameters)):
            raise Killed

    event.listen(Engine, "before_cursor_execute", kill)
    try:
        with pytest.raises(Killed):
            shop.sync(channels=OWN)
    finally:
        event.remove(Engine, "before_cursor_execute", kill)
    names, totals = shop.channels()
    assert names[:3] == BY_OWN[0][:3]
    assert names[3:] == BY_DEFAULT[0][3:]
    assert totals == BY_OWN[1][:3] + BY_DEFAULT[1][3:]
    shop.sync(channels=OWN)
    assert any("7 stored days are classified again" in message for message in shop.messages)
    assert shop.channels() == BY_OWN


def test_a_large_day_is_classified_by_the_hour(shop):
    with shop.engine.begin() as connection:
        rules = load_channels(connection, replace(DEFAULT_RULES, rules=OWN))
        day = date(2026, 3, 2)
        assert day in find_unclassified(connection, 1, rules.rules)
        assert classify_day(connection, 1, day, MAX_RECORDS_AT_ONCE + 1, rules, shop.now) == 2
        assert day not in find_unclassified(connection, 1, rules.rules)
    assert shop.channels()[0][:3] == BY_OWN[0][:3]


def test_an_erased_row_keeps_its_channel(shop):
    erase_number(shop.settings, "+79240000001", wait=0, clock=lambda: shop.now)
    assert shop.channels() == BY_DEFAULT
    shop.sync("backfill", date(2026, 3, 1), date(2026, 3, 10))
    assert shop.channels() == BY_DEFAULT
    shop.sync(channels=OWN)
    names, totals = shop.channels()
    assert names == ["message", "call", "unknown", "telegram", "flash call", "message"]
    assert [total[:2] for total in totals[3:5]] == [("flash call", 1), ("telegram", 1)]
    assert shop.differences() == []


def test_wrong_totals_are_found_by_verify_and_repaired_by_backfill(shop):
    with shop.engine.begin() as connection:
        connection.execute(update(channel_totals).where(channel_totals.c.day == date(2026, 3, 2)).values(records=9))
    assert [(found.day, found.wrong_totals) for found in shop.differences()] == [(date(2026, 3, 2), True)]
    shop.sync("backfill", date(2026, 3, 2), date(2026, 3, 2))
    assert shop.differences() == []
    assert shop.channels() == BY_DEFAULT


def test_a_channel_changed_by_another_program_is_repaired_by_backfill(shop):
    with shop.engine.begin() as connection:
        connection.execute(update(billing_records).where(billing_records.c.price == Decimal("3.25")).values(channel=1))
    assert shop.channels() != BY_DEFAULT
    assert [(found.day, found.wrong_totals) for found in shop.differences()] == [(date(2026, 3, 2), True)]
    shop.sync("backfill", date(2026, 3, 2), date(2026, 3, 2))
    assert shop.differences() == []
    assert shop.channels() == BY_DEFAULT


def test_channels_are_repaired_with_the_rows_of_their_day(shop):
    with shop.engine.begin() as connection:
        connection.execute(update(billing_records).where(billing_records.c.price == Decimal("3.25")).values(channel=1))
        connection.execute(delete(billing_records).where(billing_records.c.price == Decimal("0.1")))
    shop.sync("backfill", date(2026, 3, 2), date(2026, 3, 2))
    assert shop.differences() == []
    assert shop.channels() == BY_DEFAULT


def test_a_channel_keeps_its_number(shop):
    numbers = dict(shop.query("SELECT name, id FROM channels"))
    shop.sync(channels=OWN)
    now = dict(shop.query("SELECT name, id FROM channels"))
    assert numbers.items() <= now.items()
    assert len(set(now.values())) == len(now)


def test_dropped_codes_do_not_affect_the_channel(shop):
    settings = settings_of(shop.engine.url, shop.vendor, date(2026, 3, 1), account="second", codes="drop")
    shop.settings = replace(settings, lookback_days=3)
    shop.sync()
    names = [name for (name,) in shop.query("SELECT channel FROM billing WHERE account = 'second' ORDER BY created_at")]
    assert names == ["sms", "unknown", "unknown", "telegram", "flash call", "unknown"]


@pytest.mark.parametrize("code", ["", "0371"])
def test_texts_that_differ_in_blanks_at_their_ends_have_one_channel(shop, code):
    shop.vendor.dataset.replace(
        [charge(f"2026-03-05T01:00:0{n}", "7", info="x" + " " * n, code=code) for n in range(3)]
    )
    shop.sync("backfill", date(2026, 3, 5), date(2026, 3, 5), channels=(ChannelRule("x", status_info="*x"),))
    shop.sync(channels=(ChannelRule("y", status_info="x*"),))
    with shop.engine.connect() as connection:
        found = connection.scalars(
            select(billing_records.c.channel).where(billing_records.c.price == Decimal(7)).distinct()
        ).all()
    assert len(found) == 1
