"""The dashboard and the alerts for Grafana: each query runs on PostgreSQL, with the macros filled in."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from conftest import fresh_database
from sqlalchemy import insert, text
from support.run_helpers import NO_PROGRESS, settings_of

from etl.date_ranges import DateRange
from etl.db.engine import new_engine
from etl.db.tables import balance_snapshots
from etl.db.view_columns import VIEW_COLUMNS
from etl.reports.charts.count_specs import DAY_STATES
from etl.services.run import RunRequest
from etl.services.sync import run_sync

FOLDER = Path(__file__).parents[2] / "bi" / "grafana"
DASHBOARD = json.loads((FOLDER / "dashboards" / "billing.json").read_text("utf-8"))
PROVISIONING = {
    path.parent.name: yaml.safe_load(path.read_text("utf-8")) for path in (FOLDER / "provisioning").rglob("*.yaml")
}
[DATASOURCE] = PROVISIONING["datasources"]["datasources"]
[GROUP] = PROVISIONING["alerting"]["groups"]
NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
FROM, TO = "2026-03-01T00:00:00Z", "2026-03-12T00:00:00Z"
MACROS = [
    (re.compile(r"\$__timeFilter\(([\w.]+)\)"), rf"\1 BETWEEN '{FROM}' AND '{TO}'"),
    (re.compile(r"\$__timeFrom\(\)"), f"'{FROM}'"),
    (re.compile(r"\$__timeTo\(\)"), f"'{TO}'"),
]
"""Grafana's replacements for its macros."""


def filled_in(sql, accounts="'default', 'o''brien'"):
    for macro, replacement in MACROS:
        sql = macro.sub(replacement, sql)
    sql = sql.replace("${account:sqlstring}", accounts)
    assert "$" not in sql, "an unknown macro"
    return sql


def panel_queries():
    return {panel["title"]: target["rawSql"] for panel in DASHBOARD["panels"] for target in panel["targets"]}


def alert_queries():
    return {rule["title"]: rule["data"][0]["model"]["rawSql"] for rule in GROUP["rules"]}


def test_the_dashboard_is_a_valid_grafana_dashboard():
    panels = DASHBOARD["panels"]
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["uid"]
    assert max(Counter(panel["id"] for panel in panels).values()) == 1
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["datasource"] == {"type": DATASOURCE["type"], "uid": DATASOURCE["uid"]}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    [account] = DASHBOARD["templating"]["list"]
    assert (account["name"], account["multi"], account["includeAll"]) == ("account", True, True)


def test_every_panel_except_those_of_the_present_follows_the_filters():
    for title, sql in panel_queries().items():
        assert "${account:sqlstring}" in sql, title
        assert "$__time" in sql or title in {"Balance", "Freshness"}


def test_the_queries_read_only_views_and_no_personal_column():
    read = {
        view for sql in (*panel_queries().values(), *alert_queries().values()) for view in VIEW_COLUMNS if view in sql
    }
    assert read == {
        "daily_spend", "monthly_spend", "delivery_by_operator", "hourly_spend", "daily_channels", "restated_days",
        "balance_proof", "calendar", "freshness",
    }  # fmt: skip
    for sql in panel_queries().values():
        assert not re.search(r"\b(phone|code_auth|status_info|billing|accounts|synced_days)\b", sql)


def test_the_provisioning_has_no_password_and_alerts_on_what_needs_attention():
    assert DATASOURCE["secureJsonData"] == {"password": "$GRAFANA_READER_PASSWORD"}
    assert DATASOURCE["user"] == "billing_reader"
    assert [rule["title"] for rule in GROUP["rules"]] == [
        "Low balance", "Unexplained charge", "Stale data", "Suspect days",
    ]  # fmt: skip
    assert max(Counter(rule["uid"] for rule in GROUP["rules"]).values()) == 1
    for rule in GROUP["rules"]:
        query, threshold = rule["data"]
        assert query["datasourceUid"] == DATASOURCE["uid"]
        assert (threshold["refId"], threshold["model"]["expression"]) == (rule["condition"], query["refId"])
        [condition] = threshold["model"]["conditions"]
        assert condition["evaluator"]["type"] in {"gt", "lt"}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    from etl.sandbox import Dataset, Sandbox

    dataset = Dataset(seed=1, today=date(2026, 3, 11), days=10, until=NOW.time())
    folder = tmp_path_factory.mktemp("grafana")
    with fresh_database("postgresql", folder) as url, Sandbox(port=0, dataset=dataset, now=NOW) as vendor:
        settings = settings_of(url, vendor, date(2026, 3, 1))
        run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: NOW)
        yield new_engine(url)


def test_every_query_of_the_dashboard_returns_the_columns_of_its_panel(database):
    with database.connect() as connection:
        rows = {}
        for panel in DASHBOARD["panels"]:
            for target in panel["targets"]:
                result = connection.execute(text(filled_in(target["rawSql"]).replace(":", r"\:")))
                columns = list(result.keys())
                if target["format"] == "time_series":
                    assert columns[0] == "time", panel["title"]
                    assert columns[-1] == "value", panel["title"]
                rows[panel["title"]] = result.mappings().all()
        charges = connection.scalars(text("SELECT SUM(records) FROM daily_spend WHERE day <= '2026-03-12'")).one()
        [account] = DASHBOARD["templating"]["list"]
        assert connection.scalars(text(account["query"])).all() == ["default"]
        for annotation in DASHBOARD["annotations"]["list"]:
            result = connection.execute(text(filled_in(annotation["target"]["rawSql"]).replace(":", r"\:")))
            assert list(result.keys()) == ["time", "text"]
        total = connection.execute(text(filled_in(panel_queries()["Charges"], "'nobody'"))).scalar()
    assert rows["Charges"][0]["charges"] == charges > 0
    assert total is None
    for title in (
        "Spend by day",
        "Balance",
        "Delivery rate by day",
        "Charges by hour",
        "Months",
        "Freshness",
        "Spend by channel",
    ):
        assert rows[title], title


def test_the_states_of_days_include_missing_days(database):
    (panel,) = (panel for panel in DASHBOARD["panels"] if panel["title"] == "State of each day")
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert set(mapping["options"]) == set(DAY_STATES)
    with database.connect() as connection, connection.begin() as transaction:
        connection.execute(text("DELETE FROM synced_days WHERE day = '2026-03-05'"))
        sql = filled_in(panel_queries()["State of each day"]).replace(":", r"\:")
        states = {row.time.date(): row.value for row in connection.execute(text(sql))}
        transaction.rollback()
    assert list(states) == list(DateRange(date(2026, 3, 1), date(2026, 3, 11)).days())
    assert states[date(2026, 3, 5)] == "missing"


def test_amounts_of_different_currencies_are_not_added(database):
    totals = {title: sql for title, sql in panel_queries().items() if re.search(r"SUM\(spend\)", sql)}
    assert totals.keys() == {"Spend", "Cost per delivery", "Spend by channel"}
    assert all(re.search(r"GROUP BY (channel, )?currency", sql) for sql in totals.values())
    assert "currencyRUB" not in json.dumps(DASHBOARD)
    with database.connect() as connection:
        rows = {title: connection.execute(text(filled_in(sql).replace(":", r"\:"))).mappings().all()
                for title, sql in totals.items()}  # fmt: skip
    assert all({row["currency"] for row in found} == {"RUB"} for found in rows.values())
    assert sum(row["spend"] for row in rows["Spend by channel"]) == rows["Spend"][0]["spend"]


@pytest.mark.parametrize(
    ("snapshots", "charges"),
    [
        pytest.param([(30, 100, 0), (29, 97, 0)], 0, id="in progress"),
        pytest.param([(30, 100, 0), (29, 97, 0), (6, 97, 3), (5, 97, 3)], 0, id="recorded by the next run"),
        pytest.param([(40, 100, 0), (30, 100, 3), (29, 97, 3), (6, 97, 3)], 0, id="recorded by the same run"),
        pytest.param([(30, 100, 0), (29, 97, 0), (6, 597, 3), (5, 597, 3)], 0, id="and a top-up after it"),
        pytest.param([(30, 100, 0), (29, 97, 0), (6, 95, 4), (5, 95, 4)], 1, id="recorded in part"),
        pytest.param([(30, 100, 0), (6, 50, 0), (5, 50, 0)], 1, id="between runs"),
        pytest.param([(90, 100, 0), (70, 50, 0), (6, 50, 0), (5, 50, 0)], 0, id="earlier"),
        pytest.param([(30, 100, 0), (29, 600, 0), (6, 550, 0), (5, 550, 0)], 1, id="after a top-up"),
    ],
)
def test_the_alert_of_unexplained_charges_allows_for_charges_in_progress(database, snapshots, charges):
    """Each snapshot: hours ago, balance, recorded spend."""
    with database.connect() as connection, connection.begin() as transaction:
        connection.execute(text("DELETE FROM balance_snapshots"))
        for hours, balance, spend in snapshots:
            taken_at = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
            row = {"taken_at": taken_at, "balance": Decimal(balance), "recorded_spend": Decimal(spend)}
            connection.execute(insert(balance_snapshots).values(account_id=1, **row))
        rows = connection.execute(text(alert_queries()["Unexplained charge"].replace("::", r"\:\:"))).all()
        transaction.rollback()
    assert rows == ([("default", charges)] if charges else [])


def test_an_alert_names_the_account_that_needs_attention(database):
    with database.connect() as connection, connection.begin() as transaction:
        found = {}
        for title, sql in alert_queries().items():
            result = connection.execute(text(sql.replace("::", r"\:\:")))
            assert len(result.keys()) == 2
            assert next(iter(result.keys())) == "account"
            found[title] = result.all()
        assert [account for account, _ in found["Stale data"]] == ["default"]
        assert not found["Suspect days"]
        connection.execute(text("UPDATE sync_state SET suspect_days = 2"))
        sql = alert_queries()["Suspect days"]
        assert connection.execute(text(sql.replace("::", r"\:\:"))).all() == [("default", 2.0)]
        transaction.rollback()
