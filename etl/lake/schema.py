"""The Iceberg tables: columns and partitions.

`billing` has the columns of the view of that name, but for those that change without a change of the day: `day_state`
follows the watermark, `operator` and `region` the numbering plan, which is the table `numbering`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from etl.reports.columns import BILLING, ColumnType

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema

BILLING_COLUMNS: Final = {
    name: kind for name, kind in BILLING.columns.items() if name not in {"operator", "region", "day_state"}
}
"""Columns of the table `billing`, in order."""
NUMBERING_COLUMNS: Final = ("first_phone", "last_phone", "operator", "region")
"""Columns of the table `numbering`, all of them text: a range of numbers, both ends included."""
_REQUIRED: Final = ("account", "created_at", "day")


def billing_schema() -> tuple[Schema, PartitionSpec]:
    """The table `billing`: a partition for each account and month."""
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import IdentityTransform, MonthTransform
    from pyiceberg.types import (
        BooleanType,
        DateType,
        DecimalType,
        IcebergType,
        LongType,
        NestedField,
        StringType,
        TimestampType,
        TimestamptzType,
    )

    types: dict[ColumnType, IcebergType] = {
        ColumnType.LABEL: StringType(),
        ColumnType.TEXT: StringType(),
        ColumnType.PHONE: StringType(),
        ColumnType.WALL_CLOCK: TimestampType(),
        ColumnType.SECOND_UTC: TimestamptzType(),
        ColumnType.MICROSECOND_UTC: TimestamptzType(),
        ColumnType.DAY: DateType(),
        ColumnType.NUMBER: LongType(),
        ColumnType.PRICE: DecimalType(18, 6),
        ColumnType.AMOUNT: DecimalType(38, 6),
        ColumnType.FLAG: BooleanType(),
    }
    fields = [
        NestedField(number, name, types[kind], required=name in _REQUIRED)
        for number, (name, kind) in enumerate(BILLING_COLUMNS.items(), start=1)
    ]
    ids = {field.name: field.field_id for field in fields}
    partitions = PartitionSpec(
        PartitionField(ids["account"], 1000, IdentityTransform(), "account"),
        PartitionField(ids["day"], 1001, MonthTransform(), "month"),
    )
    return Schema(*fields), partitions


def numbering_schema() -> Schema:
    """The table `numbering`."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField, StringType

    return Schema(*(NestedField(number, name, StringType()) for number, name in enumerate(NUMBERING_COLUMNS, start=1)))


def arrow_schema(schema: Schema) -> Any:
    """The same as a schema of pyarrow."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return schema_to_pyarrow(schema, include_field_ids=False)
