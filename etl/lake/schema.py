"""The Iceberg tables: columns and partitions.

`billing` is partitioned by account and month. A file holds rows of one partition, so many accounts share partitions: a
lake of thousands of accounts would have as many files a month, and each night would write most of them.

`billing` has the columns of the view of that name, but for those that change without a change of the day: `day_state`
follows the watermark, `operator` and `region` the numbering plan, which is the table `numbering`.
"""

from __future__ import annotations

from math import ceil
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
MIN_ACCOUNTS_FOR_BUCKETS: Final = 200
ACCOUNTS_PER_BUCKET: Final = 25
_REQUIRED: Final = ("account", "created_at", "day")


def billing_schema() -> Schema:
    """The table `billing`."""
    from pyiceberg.schema import Schema
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
    return Schema(*fields)


def billing_partitions(schema: Schema, accounts: int) -> PartitionSpec:
    """The partitions of a new table `billing`: by account, or by a hash of it where there are many, and by month.

    Args:
        schema: That of the table.
        accounts: Number of accounts.
    """
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import BucketTransform, IdentityTransform, MonthTransform

    account, day = (schema.find_field(name).field_id for name in ("account", "day"))
    by_account = PartitionField(account, 1000, IdentityTransform(), "account")
    if accounts >= MIN_ACCOUNTS_FOR_BUCKETS:
        by_account = PartitionField(
            account, 1000, BucketTransform(ceil(accounts / ACCOUNTS_PER_BUCKET)), "account_bucket"
        )
    return PartitionSpec(by_account, PartitionField(day, 1001, MonthTransform(), "month"))


def numbering_schema() -> Schema:
    """The table `numbering`."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField, StringType

    return Schema(*(NestedField(number, name, StringType()) for number, name in enumerate(NUMBERING_COLUMNS, start=1)))


def arrow_schema(schema: Schema) -> Any:
    """The same as a schema of pyarrow."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return schema_to_pyarrow(schema, include_field_ids=False)
