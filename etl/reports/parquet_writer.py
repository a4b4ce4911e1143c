"""Rows of a view as Parquet, with exact amounts, and with time zones where times have one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, Final

from etl.errors import ConfigError
from etl.reports.columns import ColumnType, ExportView

ROW_GROUP_SIZE: Final = 50_000
"""Rows of a row group: large enough for readers, small enough for memory."""


def open_parquet(
    row_group_size: int = ROW_GROUP_SIZE,
) -> Callable[[BinaryIO, ExportView, Iterable[Sequence[Sequence[str | None]]]], int]:
    """A function that writes batches of rows of a view, as texts, to a file and returns the number of rows.

    Args:
        row_group_size: Number of rows after which a row group ends with the current batch.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # untyped, and part of an extra
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            "--out FILE.parquet needs a library that is not installed; run: pip install 'billing-etl[parquet]'"
        ) from None

    label = pa.dictionary(pa.int32(), pa.string())
    types = {
        ColumnType.LABEL: label,
        ColumnType.TEXT: pa.string(),
        ColumnType.PHONE: pa.string(),
        ColumnType.WALL_CLOCK: pa.timestamp("s"),
        ColumnType.SECOND_UTC: pa.timestamp("us", "UTC"),
        ColumnType.MICROSECOND_UTC: pa.timestamp("us", "UTC"),
        ColumnType.DAY: pa.date32(),
        ColumnType.NUMBER: pa.int64(),
        ColumnType.PRICE: pa.decimal128(18, 6),
        ColumnType.AMOUNT: pa.decimal128(38, 6),
        ColumnType.RATIO: pa.decimal128(18, 4),
        ColumnType.PERCENT: pa.decimal128(18, 2),
        ColumnType.HOURS: pa.decimal128(18, 1),
        ColumnType.FLAG: pa.bool_(),
    }

    def write(file: BinaryIO, view: ExportView, batches: Iterable[Sequence[Sequence[str | None]]]) -> int:
        schema = pa.schema([(name, types[column_type]) for name, column_type in view.columns.items()])
        count = 0
        group: list[Any] = []
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in batches:
                columns = zip(*batch, strict=True)
                texts = (pa.array(values, pa.string()) for values in columns)
                arrays = [values.cast(field.type) for values, field in zip(texts, schema, strict=True)]
                group.append(pa.record_batch(arrays, schema))
                count += len(batch)
                if sum(map(len, group)) >= row_group_size:
                    writer.write_table(pa.Table.from_batches(group))
                    group.clear()
            if group:
                writer.write_table(pa.Table.from_batches(group))
        return count

    return write
