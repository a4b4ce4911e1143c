"""The Superset bundle, compared with the views: all its references exist."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from conftest import fresh_database
from sqlalchemy import make_url, text
from support.run_helpers import NO_PROGRESS, settings_of

from etl.db.engine import new_engine
from etl.db.view_columns import VIEW_COLUMNS
from etl.services.run import RunRequest
from etl.services.sync import run_sync

BUNDLE = Path(__file__).parents[2] / "bi" / "superset"
FILES = {str(path.relative_to(BUNDLE)): yaml.safe_load(path.read_text("utf-8")) for path in BUNDLE.rglob("*.yaml")}
AMOUNTS = re.compile(r"spend|closing|charged|top_ups|unexplained|restated|delta")
PERSONAL = {("billing", name) for name in ("phone", "code_auth", "status_info")}


def of(folder):
    return {name: content for name, content in FILES.items() if name.startswith(f"{folder}/")}


DATASETS, CHARTS = of("datasets"), of("charts")
(DATABASE,) = of("databases").values()
(DASHBOARD,) = of("dashboards").values()
VIEW_OF = {dataset["uuid"]: dataset for dataset in DATASETS.values()}


def placed():
    """The charts on the dashboard."""
    return [box["meta"] for box in DASHBOARD["position"].values() if isinstance(box, dict) and box["type"] == "CHART"]


def names_in(params):
    """All columns and metrics that a chart uses."""
    for key in ("metric", "x_axis", "x_axis_sort"):
        yield from filter(None, [params.get(key)])
    for key in ("metrics", "groupby", "all_columns"):
        value = params.get(key, [])
        yield from [value] if isinstance(value, str) else value
    for order in params.get("order_by_cols", []):
        yield yaml.safe_load(order)[0]
    yield from params.get("column_config", {})
    for condition in params.get("adhoc_filters", []):
        yield condition["subject"]


def test_the_bundle_is_a_valid_superset_bundle():
    assert FILES["metadata.yaml"]["version"] == "1.0.0"
    assert all(content["version"] == "1.0.0" for content in FILES.values())
    assert len(CHARTS) >= 10
    uuids = [content["uuid"] for content in FILES.values() if "uuid" in content]
    assert len({UUID(one) for one in uuids}) == len(uuids) == len(FILES) - 1


def test_every_reference_is_a_file_of_the_bundle():
    assert {dataset["database_uuid"] for dataset in DATASETS.values()} == {DATABASE["uuid"]}
    assert {chart["dataset_uuid"] for chart in CHARTS.values()} <= VIEW_OF.keys()
    assert {(box["uuid"], box["sliceName"]) for box in placed()} == {
        (chart["uuid"], chart["slice_name"]) for chart in CHARTS.values()
    }
    for one in DASHBOARD["metadata"]["native_filter_configuration"]:
        for target in filter(None, one["targets"]):
            columns = VIEW_OF[target["datasetUuid"]]["columns"]
            assert target["column"]["name"] in {column["column_name"] for column in columns}


def test_every_element_of_the_dashboard_has_a_position():
    position = DASHBOARD["position"]
    for name, box in position.items():
        if isinstance(box, dict):
            assert box["id"] == name
            for child in box.get("children", []):
                assert position[child]["parents"][-1] == name
                assert position[child]["parents"][:-1] == box.get("parents", [])
    for row in (box for box in position.values() if isinstance(box, dict) and box["type"] == "ROW"):
        assert sum(position[child]["meta"]["width"] for child in row["children"]) <= 12
    assert len({box["chartId"] for box in placed()}) == len(CHARTS)


def test_each_view_is_a_dataset_with_all_columns_except_personal_ones():
    columns = {
        (dataset["table_name"], column["column_name"])
        for dataset in DATASETS.values()
        for column in dataset["columns"]
        if not column.get("expression")
    }
    meanings = {(view, column.name): column.meaning for view, listed in VIEW_COLUMNS.items() for column in listed}
    assert columns == meanings.keys() - PERSONAL
    for dataset in DATASETS.values():
        for column in dataset["columns"]:
            if not column.get("expression"):
                assert column["description"] == meanings[dataset["table_name"], column["column_name"]]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_uses_columns_of_its_dataset(name):
    dataset = VIEW_OF[CHARTS[name]["dataset_uuid"]]
    has = {column["column_name"] for column in dataset["columns"]} | {
        metric["metric_name"] for metric in dataset["metrics"]
    }
    used = set(names_in(CHARTS[name]["params"]))
    assert used
    assert used <= has
    assert CHARTS[name]["viz_type"] == CHARTS[name]["params"]["viz_type"]


def test_amounts_of_different_currencies_are_not_added():
    (chosen,) = (one for one in DASHBOARD["metadata"]["native_filter_configuration"] if one["name"] == "Currency")
    values = chosen["controlValues"]
    assert chosen["requiredFirst"]
    assert (values["enableEmptyFilter"], values["defaultToFirstItem"], values["multiSelect"]) == (True, True, False)
    excluded = {box["uuid"] for box in placed() if box["chartId"] in chosen["scope"]["excluded"]}
    assert len(excluded) == len(chosen["scope"]["excluded"])
    for name, chart in CHARTS.items():
        dataset, params = VIEW_OF[chart["dataset_uuid"]], chart["params"]
        is_filtered = chart["uuid"] not in excluded
        assert not is_filtered or "currency" in {column["column_name"] for column in dataset["columns"]}, name
        used = set(names_in(params))
        sums = {metric["metric_name"] for metric in dataset["metrics"] if AMOUNTS.search(metric["expression"])}
        assert is_filtered or not used & sums or "account" in params["groupby"], name


def test_tables_show_text_as_text():
    tables = [chart["params"] for chart in CHARTS.values() if chart["viz_type"] == "table"]
    assert tables
    assert all(params["allow_render_html"] is False for params in tables)


def test_the_bundle_contains_no_password_and_no_server():
    url = make_url(DATABASE["sqlalchemy_uri"])
    assert (url.username, url.password, url.host) == ("billing_reader", "XXXXXXXXXX", "localhost")
    assert not DATABASE["allow_dml"]
    assert not {"password", "encrypted_extra", "ssh_tunnel"} & DATABASE.keys()


def test_every_expression_runs_on_postgresql_and_agrees_with_the_views(tmp_path, sandbox):
    with fresh_database("postgresql", tmp_path) as url:
        settings = settings_of(url, sandbox, date(2026, 3, 1))
        now = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
        run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: now)
        results = {}
        with new_engine(url).connect() as connection:
            for dataset in DATASETS.values():
                view = dataset["table_name"]
                made = [
                    f"{one['expression']} AS {one['column_name']}"
                    for one in dataset["columns"]
                    if one.get("expression")
                ]
                metrics = [f"{metric['expression']} AS {metric['metric_name']}" for metric in dataset["metrics"]]
                grouped = f"SELECT {', '.join(metrics)} FROM (SELECT {', '.join(['*', *made])} FROM {view}) v"
                results[view] = connection.execute(text(grouped)).one()
                for metric in dataset["metrics"]:
                    assert metric["metric_name"] not in {column.name for column in VIEW_COLUMNS[view]}
            expected = connection.execute(
                text("SELECT SUM(amount), SUM(repeats), SUM(CASE WHEN delivered THEN repeats END) FROM billing")
            ).one()
            weekdays = set(connection.scalars(text(f"SELECT {_expression('billing', 'weekday')} FROM billing")))
    for view in ("daily_spend", "monthly_spend", "delivery_by_operator"):
        assert (results[view].total_spend, results[view].total_records, results[view].total_delivered) == expected
        assert round(results[view].overall_delivery_rate, 9) == round(Decimal(expected[2]) / expected[1], 9)
    assert {"1 Mon", "7 Sun"} <= {day.strip() for day in weekdays}


def _expression(view, name):
    (dataset,) = (dataset for dataset in DATASETS.values() if dataset["table_name"] == view)
    return next(column["expression"] for column in dataset["columns"] if column["column_name"] == name)
