"""Month close: what is booked, what the view shows and what a second close does, on each database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st
from sqlalchemy import insert, select, text, update
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import vendor_record

from etl.date_ranges import DateRange
from etl.db.closed_months import BookedVat
from etl.db.lock import advisory_lock
from etl.db.tables import accounts, closed_months, restatements, synced_days
from etl.errors import ConcurrentRunError, ConfigError, DatabaseError
from etl.reports.query import ViewMoney
from etl.services.accounts import delete_account
from etl.services.close import CloseRequest, close_month
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
TENTH_OF_APRIL = datetime(2026, 4, 10, 6, 30, tzinfo=UTC)
BILLION = "999999999.999999"


def charge(day, price="1.5", second=0):
    return vendor_record(f"{day}T10:00:{second:02}", price)


class Shop:
    """An account on the tenth of April with all days since the first of March, and a vendor with a few charges."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, MARCH, lookback_days=3)
        self.engine = open_engine(url)
        self.now = TENTH_OF_APRIL
        self.records = [charge("2026-03-02"), charge("2026-03-31", "120"), charge("2026-04-05", "7")]

    def sync(self, *more, command="sync", since=None, until=None, **changes):
        self.records = [*self.records, *more]
        self.vendor.dataset.replace(self.records)
        self.now += timedelta(minutes=1)
        self.messages = []
        result = run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until),
            replace(NO_PROGRESS, message=self.messages.append),
            redact=str,
            clock=lambda: self.now,
        )
        assert result.error is None
        return result

    def close(self, month=MARCH, *, provisional=False, again=False, is_configured=True, **changes):
        self.now += timedelta(minutes=1)
        return close_month(
            replace(self.settings, **changes),
            CloseRequest(month, provisional, again),
            is_configured=is_configured,
            wait=0,
            clock=lambda: self.now,
        )

    def read(self, query, **values):
        with self.engine.connect() as connection:
            return [tuple(map(as_shown, row)) for row in connection.execute(text(query), values)]

    def month(self, columns, month=MARCH):
        (row,) = self.read(f"SELECT {columns} FROM monthly_close WHERE month = :month", month=str(month))
        return row


def as_shown(value):
    """Amounts as decimals, days as texts, on each database."""
    if isinstance(value, float):
        return Decimal(f"{value:.6f}")
    return str(value) if isinstance(value, date) else value


def amount(value):
    return ViewMoney(38).process_result_value(value, None)


@pytest.fixture
def shop(database_url, sandbox):
    return Shop(database_url, sandbox)


@pytest.fixture
def small_shop(sqlite_url, sandbox):
    return Shop(sqlite_url, sandbox)


def test_a_final_month_is_booked_with_its_vat_and_keeps_it(shop):
    shop.sync(vat_rate=Decimal(20))
    assert shop.month("final, days_missing, days_settling, closed_at, days_ahead, records") == (1, 0, 0, None, 0, 2)
    assert [shop.month(name)[0] for name in ("booked", "changed_since_close", "closed_as")] == [None] * 3
    assert shop.month("spend, net, vat, gross, vat_rate") == (
        Decimal("121.5"), Decimal("101.25"), Decimal("20.25"), Decimal("121.5"), 20,
    )  # fmt: skip
    result = shop.close(vat_rate=Decimal(20))
    assert (result.outcome, result.totals.kind, result.totals.records, result.unsettled) == ("booked", "final", 2, {})
    assert result.booked_vat == BookedVat(Decimal("101.25"), Decimal("20.25"), Decimal("121.5"))
    closed = "booked, spend, changed_since_close, currency, net, vat, gross, closed_as, closings"
    booked = (
        *(Decimal("121.5"), Decimal("121.5"), Decimal(0), "RUB"),
        *(Decimal("101.25"), Decimal("20.25"), Decimal("121.5"), "final", 1),
    )
    assert shop.month(closed) == booked

    # Other terms apply to the account from now on; a closed month keeps its own.
    shop.sync(currency="EUR", vat_rate=Decimal("8.5"), vat="excluded")
    assert (
        "prices are in EUR, VAT of 8.5 % excluded from now on (before: RUB, VAT of 20 % included)" in shop.messages[0]
    )
    assert shop.month(closed) == booked
    assert shop.month("currency, spend, net, vat, gross", APRIL) == (
        "EUR", Decimal(7), Decimal(7), Decimal("0.595"), Decimal("7.595"),
    )  # fmt: skip
    assert shop.read("SELECT currency, vat_rate, vat FROM freshness") == [("EUR", Decimal("8.5"), "excluded")]
    assert {row[0] for row in shop.read("SELECT currency FROM daily_spend")} == {"EUR"}
    # A close also stores the terms of the settings, and keeps those of an account that is not configured.
    assert shop.close(is_configured=False).reason.startswith("it is closed already, with RUB, VAT of 20 % included")
    assert shop.close(vat_rate=Decimal(20)).outcome == "unchanged"


def test_changes_after_the_close_are_listed_and_booked_on_request(shop):
    shop.sync()
    first = shop.close().closing
    assert shop.close().outcome == "unchanged"
    shop.sync(charge("2026-03-05", "0.000001"), command="backfill", since=MARCH, until=date(2026, 3, 31))
    shop.records[1] = charge("2026-03-31", BILLION)
    shop.sync(command="backfill", since=MARCH, until=date(2026, 3, 31))
    change = Decimal(BILLION) - Decimal("119.999999")
    assert tuple(map(amount, shop.month("booked, spend, changed_since_close"))) == (
        Decimal("121.5"), Decimal("121.5") + change, change,
    )  # fmt: skip
    lines = shop.read("SELECT day, kind, delta, since_close FROM restatement_lines ORDER BY line")
    assert [line[1::2] for line in lines] == [("late", 1), ("corrected", 1)]
    assert sum(amount(line[2]) for line in lines) == change
    refused = shop.close()
    assert (refused.outcome, refused.reason) == ("refused", "it is closed already and has changed since")
    assert refused.closing == first
    again = shop.close(again=True)
    assert (again.outcome, again.replaced) == ("booked", first)
    assert tuple(map(amount, shop.month("booked, changed_since_close"))) == (Decimal("121.5") + change, Decimal(0))
    assert shop.read("SELECT since_close FROM restatement_lines") == [(0,), (0,)]
    assert shop.month("closings") == (2,)
    with shop.engine.connect() as connection:
        kept = connection.execute(select(closed_months.c.closing, closed_months.c.booked)).all()
    assert kept == [(1, Decimal("121.5")), (2, Decimal("121.5") + change)]


def test_a_month_that_may_still_change_is_booked_only_provisionally(shop):
    shop.sync(until=date(2026, 3, 20))
    shop.sync(command="backfill", since=date(2026, 3, 31), until=date(2026, 3, 31))
    shop.sync(command="backfill", since=date(2026, 4, 9), until=date(2026, 4, 9))
    assert shop.month("final, days_missing, days_settling, days_closed, days_ahead") == (0, 10, 4, 17, 0)
    currencies = "SELECT DISTINCT currency FROM monthly_close"
    refused = shop.close(currency="EUR", vat_rate=Decimal(10))
    assert shop.read(currencies) == [("RUB",)]
    assert refused.unsettled == {
        "missing": [DateRange(date(2026, 3, 21), date(2026, 3, 30))],
        "settling": [DateRange(date(2026, 3, 18), date(2026, 3, 20)), DateRange(date(2026, 3, 31), date(2026, 3, 31))],
    }
    assert refused.reason == "settling: 2026-03-18..2026-03-20, 2026-03-31; missing: 2026-03-21..2026-03-30"
    assert (refused.outcome, refused.closing, refused.booked_vat) == ("refused", None, None)
    assert shop.month("closed_at") == (None,)
    provisional = shop.close(provisional=True)
    assert (provisional.outcome, provisional.closing.totals.kind) == ("booked", "provisional")
    assert shop.month("closed_as, booked") == ("provisional", Decimal("121.5"))
    april = shop.close(APRIL)
    assert april.unsettled["not over"] == [DateRange(date(2026, 4, 10), date(2026, 4, 30))]
    assert shop.month("final, days_missing, days_settling, days_ahead, days_open", APRIL) == (0, 8, 1, 21, 0)
    assert shop.close(date(2026, 5, 1), provisional=True).reason == "no day of it is stored"

    # A final close replaces a provisional one, but not the other way round.
    shop.sync(charge("2026-03-25", "0.5"))
    final = shop.close()
    assert (final.outcome, final.replaced) == ("booked", provisional.closing)
    assert shop.month("final, closed_as, booked, closings") == (1, "final", Decimal(122), 2)
    with shop.engine.begin() as connection:
        day = synced_days.c.day == date(2026, 3, 25)
        connection.execute(update(synced_days).where(day).values(suspect_since=shop.now, suspect_reason="x"))
    assert shop.month("final, days_suspect, closed_as") == (0, 1, "final")
    assert shop.close().reason == "suspect: 2026-03-25"
    assert shop.close(provisional=True).reason == "it is closed already"
    assert shop.close(provisional=True, again=True).outcome == "booked"
    assert shop.month("closed_as, closings") == ("provisional", 3)


def test_the_calendar_includes_days_without_charges_and_days_never_stored(shop):
    shop.sync(charge("2026-03-03", "0.1"), charge("2026-03-03", "0.2"), until=date(2026, 3, 4))
    shop.sync(command="backfill", since=date(2026, 4, 8), until=date(2026, 4, 10))
    days = shop.read("SELECT day, day_state, records, spend FROM calendar ORDER BY day")
    assert days[:5] == [
        ("2026-03-01", "closed", 0, Decimal(0)),
        ("2026-03-02", "settling", 1, Decimal("1.5")),
        ("2026-03-03", "settling", 2, Decimal("0.3")),
        ("2026-03-04", "settling", 0, Decimal(0)),
        ("2026-03-05", "missing", None, None),
    ]
    assert days[-4:] == [
        ("2026-04-07", "missing", None, None),
        ("2026-04-08", "settling", 0, Decimal(0)),
        ("2026-04-09", "settling", 0, Decimal(0)),
        ("2026-04-10", "open", 0, Decimal(0)),
    ]
    assert [row[0] for row in days] == [str(day) for day in DateRange(MARCH, date(2026, 4, 10)).days()]
    assert shop.month("days_missing, days_ahead, days_settling, days_closed") == (27, 0, 3, 1)
    # A gap of more than a thousand days, with whole months in it; days of the first month before the first one.
    with shop.engine.begin() as connection:
        old = {"digest": "x", "records": 1, "spend": Decimal(1), "source": "json", "stored_at": shop.now}
        connection.execute(insert(synced_days).values(account_id=1, day=date(2022, 12, 31), **old))
    assert shop.read("SELECT COUNT(*), MIN(day) FROM calendar") == [(1 + 1155 + 41, "2022-12-31")]
    assert shop.month("days_missing, days_ahead, days_open, spend", date(2022, 12, 1)) == (30, 0, 1, Decimal(1))
    assert shop.month("days_missing, final, records, spend", date(2024, 2, 1)) == (29, 0, 0, Decimal(0))


def test_a_booking_survives_a_purge_and_is_deleted_with_the_account(shop):
    shop.sync()
    shop.sync(charge("2026-03-10", "3"), command="backfill", since=MARCH, until=date(2026, 3, 31))
    shop.close()
    shop.records.pop(0)
    shop.sync(command="backfill", since=MARCH, until=date(2026, 3, 31))
    shop.sync(command="accept", since=date(2026, 3, 2), until=date(2026, 3, 2))
    columns = "final, days_missing, booked, spend, changed_since_close, records, closed_as"
    before = shop.month(columns)
    assert before[2:5] == (Decimal("124.5"), Decimal(123), Decimal("-1.5"))
    focus = sorted(map(repr, shop.read("SELECT * FROM focus_charges")))
    assert sum("Correction" in row for row in focus) == 1
    shop.now += timedelta(days=90)
    purged = purge_account(
        shop.settings, RetentionAge(1, "m"), explicit_account=True, dry_run=False, wait=0, clock=lambda: shop.now
    )
    assert list(purged.months) == [MARCH]
    assert shop.read("SELECT COUNT(*) FROM billing WHERE day < '2026-04-01'") == [(0,)]
    assert shop.month(columns) == before
    assert sorted(map(repr, shop.read("SELECT * FROM focus_charges"))) == focus
    assert shop.read("SELECT SUM(spend) FROM calendar WHERE day < '2026-04-01'") == [(Decimal(123),)]
    assert delete_account(shop.engine, "default", wait=0, clock=lambda: shop.now)["closed_months"] == 1
    assert shop.read("SELECT * FROM monthly_close") == []


def test_a_change_after_the_close_is_detected_whatever_its_id_and_time(small_shop):
    shop = small_shop
    shop.sync(charge("2026-03-10", "2"))
    shop.sync(charge("2026-03-11", "3"), command="backfill", since=MARCH, until=date(2026, 3, 31))
    shop.now -= timedelta(hours=5)  # the clock of the machine that closes is behind
    shop.close()
    assert shop.read("SELECT since_close FROM restatement_lines") == [(0,)]
    with shop.engine.begin() as connection:
        connection.execute(restatements.delete())  # as a purge does
        connection.execute(text("DELETE FROM sqlite_sequence"))  # up to revision 0010 another line got the id
    shop.now += timedelta(hours=6)
    shop.sync(charge("2026-03-12", "4"), command="backfill", since=MARCH, until=date(2026, 3, 31))
    assert shop.read("SELECT line, since_close FROM restatement_lines") == [(1, 1)]


def test_close_waits_for_no_run_and_requires_a_database_and_an_account(small_shop):
    with pytest.raises(DatabaseError, match="no database yet"):
        small_shop.close()
    small_shop.sync()
    with advisory_lock(small_shop.engine, "account-default", wait=0), pytest.raises(ConcurrentRunError):
        small_shop.close()
    with pytest.raises(ConfigError, match="no account nobody; it has default"):
        small_shop.close(account="nobody")


rates = st.one_of(st.none(), st.integers(0, 10_000))
spends = st.decimals("-999999999999999999.999999", "999999999999999999.999999", places=6)


def vat_of(spend, rate, mode):
    """Net, VAT and gross by the definition, rounded half away from zero."""
    base = 10_000 + rate if mode == "included" else 10_000
    scaled = int(abs(spend).scaleb(6)) * rate
    vat = Decimal((2 * scaled + base) // (2 * base)).scaleb(-6).copy_sign(spend)
    return (spend - vat, vat, spend) if mode == "included" else (spend, vat, spend + vat)


def test_vat_is_exact_to_the_last_digit(shop):
    shop.sync(until=MARCH)

    @run_with(max_examples=100 if shop.engine.dialect.name == "sqlite" else 30, deadline=None)
    @given(spends, rates, st.sampled_from(["included", "excluded"]))
    def check(spend, rate, mode):
        with shop.engine.begin() as connection:
            connection.execute(update(accounts).values(vat_basis_points=rate, vat=mode))
            connection.execute(update(synced_days).values(spend=spend))
            row = connection.execute(text("SELECT spend, net, vat, gross FROM monthly_close")).one()
        assert amount(row[0]) == spend
        expected = (None, None, None) if rate is None else vat_of(spend, rate, mode)
        assert tuple(None if value is None else amount(value) for value in row[1:]) == expected

    check()
