"""Slow imports that a start must avoid: each of these modules takes longer than the rest of the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MADE = """
from etl.db.engine import new_engine
from etl.config.database_url import parse_url
from etl.db.migrate import ensure_current
ensure_current(new_engine(parse_url("sqlite:///made.db")))
"""
HELP = """
import sys
from etl.__main__ import main
sys.argv = ["billing-etl", "--help"]
try:
    main()
except SystemExit:
    pass
"""


def loaded_by(program: str, folder: Path) -> set[str]:
    """The modules loaded by another interpreter after running the program."""
    script = f"{program}\nimport sys\nprint('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    ("program", "needed", "spared"),
    [
        (
            HELP,
            {"click", "etl.config.schema"},
            {
                "sqlalchemy",
                "requests",
                "alembic",
                "etl.config.loader",
                "tomllib",
                "zoneinfo",
                "prometheus_client",
                "pythonjsonlogger",
            },
        ),
        (
            MADE,
            {"sqlalchemy.dialects.sqlite", "etl.db.dialects.sqlite"},
            {
                *("alembic", "sqlalchemy.dialects.mysql", "sqlalchemy.dialects.postgresql"),
                *("etl.db.dialects.postgresql", "etl.db.dialects.mariadb", "psycopg", "pymysql"),
            },
        ),
        (
            "import etl.services.sync, etl.config.loader",
            {"sqlalchemy", "requests"},
            {
                *("alembic", "rich", "etl.sandbox", "sqlalchemy.dialects.mysql", "sqlalchemy.dialects.postgresql"),
                *("etl.db.dialects.sqlite", "etl.db.dialects.postgresql", "etl.db.dialects.mariadb"),
                *("etl.extract.csv_parser", "difflib", "tomllib"),
            },
        ),
    ],
    ids=["--help", "the first schema", "a run"],
)
def test_a_start_imports_only_required_modules(program, needed, spared, tmp_path):
    loaded = loaded_by(program, tmp_path)
    assert needed <= loaded
    assert not spared & loaded
