"""Random corrections, closes and purges of months: after each, the views agree with each other and with the vendor."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of, token_of
from support.sync_account import vendor_record

from etl.date_ranges import ONE_DAY, next_month
from etl.services.accounts import rename_account
from etl.services.close import CloseRequest, close_month
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

FIRST = date(2026, 1, 1)
MONTHS = [date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)]
EXAMPLES = {"sqlite": 15, "postgresql": 2, "mariadb": 2}
STEPS = 15

months = st.sampled_from(MONTHS)
prices = st.sampled_from([Decimal("0.2"), Decimal("1.5"), Decimal("-0.3"), Decimal("0.000001"), Decimal(120)])


class Finance(RuleBasedStateMachine):
    """An account with a charge on each day of three months; `charges` are the vendor's, by day."""

    accounts = count()

    def __init__(self, chosen, engine, vendor):
        super().__init__()
        label = f"account {next(Finance.accounts)}"
        self.settings = replace(chosen, account=label, api_token=token_of(vendor, label))
        self.engine = engine
        self.vendor = vendor
        self.now = datetime(2026, 4, 20, 6, 30, tzinfo=UTC)
        self.charges = {day: [Decimal("0.2")] for day in (FIRST + n * ONE_DAY for n in range(110))}
        self.run("sync")

    # Actions

    @initialize(closed=st.sets(months, min_size=1))
    def begin(self, closed):
        for month in closed:
            self.a_month_is_closed(month, again=False, provisional=False)

    @rule(month=months, day=st.integers(0, 27), price=prices)
    def a_charge_arrives_late(self, month, day, price):
        if not self.is_purged(month):
            self.charges[month + day * ONE_DAY].append(price)
            self.repair(month)

    @rule(month=months, day=st.integers(0, 27), price=prices)
    def the_last_charge_of_a_day_is_corrected(self, month, day, price):
        if not self.is_purged(month):
            self.charges[month + day * ONE_DAY][-1] = price
            self.repair(month)

    @rule(month=months, day=st.integers(0, 27))
    def the_last_of_several_charges_is_withdrawn(self, month, day):
        charges = self.charges[month + day * ONE_DAY]
        if len(charges) > 1 and not self.is_purged(month):
            charges.pop()
            self.repair(month)

    @rule(days=st.sampled_from([1, 20, 40]))
    def days_pass(self, days):
        for _ in range(days):
            self.now += ONE_DAY
            self.charges[self.now.date()] = [Decimal("0.2")]
        self.run("sync")

    @rule(month=months, again=st.booleans(), provisional=st.booleans())
    def a_month_is_closed(self, month, again, provisional):
        request = CloseRequest(month, provisional, again)
        close_month(self.settings, request, is_configured=True, wait=0, clock=lambda: self.now)

    @rule(age=st.sampled_from(["1m", "2m", "3m"]))
    def old_months_are_purged(self, age):
        before = self.figures()
        purge_account(
            self.settings, RetentionAge(int(age[0]), "m"), explicit_account=True, dry_run=False, wait=0,
            clock=lambda: self.now,
        )  # fmt: skip
        assert self.figures() == before

    @precondition(lambda self: "renamed" not in self.settings.account)
    @rule()
    def the_account_is_renamed(self):
        label = f"{self.settings.account} renamed"
        rename_account(self.engine, self.settings.account, label, wait=0)
        self.settings = replace(self.settings, account=label)

    # What holds after each step

    @invariant()
    def every_view_has_the_vendors_spend(self):
        spend = {month: Decimal(0) for month in MONTHS}
        for day, charges in self.charges.items():
            if day < next_month(MONTHS[-1]):
                spend[day.replace(day=1)] += sum(charges)
        closes = self.read("SELECT month, spend, booked, changed_since_close, closed_as FROM monthly_close", "account")
        shown = {date.fromisoformat(str(month)): row for month, *row in closes}
        assert {month: amount(shown[month][0]) for month in MONTHS} == spend
        of_months = dict(self.read("SELECT month, spend FROM monthly_spend", "account"))
        assert {day_of(month): amount(spent) for month, spent in of_months.items() if day_of(month) in MONTHS} == spend
        for month in MONTHS:
            _, booked, changed, kind = shown[month]
            if kind:
                assert amount(booked) + amount(changed) == spend[month]
            cost = self.cost_of(month)
            assert cost["charges"] + cost["corrections"] == spend[month]
            if kind == "final":
                assert cost["charges"] == amount(booked)
            else:
                assert not cost["corrections"]

    # Helpers

    def run(self, command, since=None, until=None):
        self.vendor.dataset.replace(
            vendor_record(f"{day}T10:00:{second:02}", str(price))
            for day, charges in self.charges.items()
            for second, price in enumerate(charges)
        )
        self.now += timedelta(minutes=1)
        result = run_sync(
            self.settings,
            RunRequest(command, since, until),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )
        assert result.exit_code == 0, result

    def repair(self, month):
        self.run("backfill", month, next_month(month) - ONE_DAY)

    def is_purged(self, month):
        return not self.read(f"SELECT day FROM billing WHERE day = '{month}'", "account")

    def cost_of(self, month):
        """The cost of the days of a month by `focus_charges`: as charged, and as corrected later."""
        name = self.engine.dialect.identifier_preparer.quote_identifier
        columns = ", ".join(map(name, ("ChargePeriodStart", "ChargeClass", "BilledCost")))
        rows = self.read(f"SELECT {columns} FROM focus_charges", name("BillingAccountId"))
        of_month = [(kind, amount(cost)) for start, kind, cost in rows if str(start).startswith(f"{month:%Y-%m}")]
        return {
            "charges": sum((cost for kind, cost in of_month if kind is None), Decimal(0)),
            "corrections": sum((cost for kind, cost in of_month if kind is not None), Decimal(0)),
        }

    def figures(self):
        """The views that a purge leaves as they are."""
        name = self.engine.dialect.identifier_preparer.quote_identifier("BillingAccountId")
        views = {"focus_charges": name} | dict.fromkeys(("calendar", "monthly_spend", "monthly_close"), "account")
        return {view: sorted(map(repr, self.read(f"SELECT * FROM {view}", column))) for view, column in views.items()}

    def read(self, query, label_column):
        joint = "AND" if "WHERE" in query else "WHERE"
        with self.engine.connect() as connection:
            label = {"label": self.settings.account}
            return connection.execute(text(f"{query} {joint} {label_column} = :label"), label).all()


def amount(value):
    return Decimal(f"{value:.6f}")


def day_of(value):
    return date.fromisoformat(str(value))


def test_the_views_agree_through_any_sequence_of_corrections_closes_and_purges(database_url, sandbox):
    chosen = settings_of(database_url, sandbox, FIRST, lookback_days=3)
    engine = open_engine(database_url)
    with engine.connect():  # SQLite checkpoints whenever the last connection closes, which takes time
        run_state_machine_as_test(
            lambda: Finance(chosen, engine, sandbox),
            settings=settings(
                max_examples=EXAMPLES[database_url.get_backend_name()],
                stateful_step_count=STEPS,
                deadline=None,
                phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
