"""Reads the table `billing` of a lake with an engine, as a program of the environment .lake-readers.

`python read_lake.py ENGINE REQUEST`, where REQUEST is JSON: `folder` of the table, `metadata` (its current file),
`files` (those of the current snapshot), `columns`. Prints JSON: the rows, and for each account and day the sums of
`repeats` and `amount`, by the engine's own arithmetic.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def read_by_duckdb(request: dict[str, Any], columns: str) -> list[list[list[Any]]]:
    """Read the files of PyIceberg's plan, because the wheel lacks the Iceberg extension."""
    import duckdb

    duckdb.read_parquet(request["files"], hive_partitioning=False).create_view("source")
    duckdb.sql("SET TimeZone = 'UTC'")
    rows = duckdb.sql(f"SELECT {columns} FROM source").fetchall()
    sums = duckdb.sql("SELECT account, day, SUM(repeats), SUM(amount) FROM source GROUP BY account, day").fetchall()
    return [[list(row) for row in rows], [list(row) for row in sums]]


def read_by_clickhouse(request: dict[str, Any], columns: str) -> list[list[list[Any]]]:
    """Read the metadata file that the catalogue names."""
    import chdb

    source = f"icebergLocal('{request['folder']}', SETTINGS iceberg_metadata_file_path = '{request['metadata']}')"
    options = "SETTINGS output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 0"
    queries = (
        f"SELECT {columns} FROM {source}",
        f"SELECT account, day, SUM(repeats), SUM(amount) FROM {source} GROUP BY account, day",
    )
    return [json.loads(str(chdb.query(f"{query} {options}", "JSONCompact")))["data"] for query in queries]


if __name__ == "__main__":
    request = json.loads(sys.argv[2])
    read = {"duckdb": read_by_duckdb, "clickhouse": read_by_clickhouse}[sys.argv[1]]
    json.dump(read(request, ", ".join(request["columns"])), sys.stdout, default=str)
