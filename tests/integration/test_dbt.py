"""The dbt package: its sources are the views, and dbt compiles and runs it on PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, date, datetime

import yaml
from conftest import fresh_database
from sqlalchemy import text
from support.environments import HOME, environment
from support.run_helpers import NO_PROGRESS, settings_of

from etl.db.engine import new_engine
from etl.db.view_columns import VIEW_COLUMNS
from etl.reports.dbt_sources import sources
from etl.services.run import RunRequest
from etl.services.sync import run_sync

PACKAGE = HOME / "bi" / "dbt"
NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


def test_the_sources_are_the_views_with_all_their_columns():
    assert (PACKAGE / "models" / "sources.yml").read_text("utf-8") == sources(), "run: make dictionary"
    [source] = yaml.safe_load(sources())["sources"]
    assert {table["name"]: [column["name"] for column in table["columns"]] for table in source["tables"]} == {
        view: [column.name for column in columns] for view, columns in VIEW_COLUMNS.items()
    }
    [exposure] = yaml.safe_load((PACKAGE / "models" / "exposures.yml").read_text("utf-8"))["exposures"]
    for reference in exposure["depends_on"]:
        assert reference.split("'")[3] in VIEW_COLUMNS


def test_dbt_compiles_the_package_and_its_tests_find_errors(tmp_path, sandbox):
    program = environment("dbt") / "dbt"
    package = shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("target", "logs"))
    with fresh_database("postgresql", tmp_path) as url:
        settings = settings_of(url, sandbox, date(2026, 3, 1))
        run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: NOW)

        def dbt(*arguments):
            variables = {
                "PGHOST": url.host, "PGPORT": str(url.port or 5432), "PGUSER": url.username,
                "PGPASSWORD": url.password or "-", "PGDATABASE": url.database,
                "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            }  # fmt: skip
            return subprocess.run(
                [program, "--quiet", *arguments, "--profiles-dir", "."], cwd=package, env=os.environ | variables,
                capture_output=True, text=True, check=False,
            )  # fmt: skip

        done = dbt("build")
        assert done.returncode == 0, done.stdout + done.stderr
        results = json.loads((package / "target" / "run_results.json").read_text())["results"]
        assert {result["status"] for result in results} == {"pass"}
        assert len(results) > 40
        assert dbt("source", "freshness").returncode == 1, "the run was in March 2026"
        with new_engine(url).begin() as connection:
            connection.execute(text("UPDATE synced_days SET records = records + 1 WHERE day = '2026-03-10'"))
        done = dbt("test", "--select", "days_add_up_to_their_records")
        assert done.returncode == 1, done.stdout
