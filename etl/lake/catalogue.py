"""The catalogue of the lake, its tables, and how far each account is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import IntegrityError

from etl.errors import ConfigError
from etl.lake.conflicts import translate_conflicts
from etl.lake.plan import Cursor
from etl.lake.schema import billing_partitions, billing_schema, numbering_schema

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

NAMESPACE: Final = "billing"
BILLING: Final = (NAMESPACE, "billing")
NUMBERING: Final = (NAMESPACE, "numbering")
CATALOGUE_FILE: Final = "catalogue.db"
CURSOR_PREFIX: Final = "billing-etl.account."
"""Of the table properties that hold the cursor of an account; the label follows."""
_REQUIRED_PROPERTIES: Final = {
    # After a conflict the library would write the same rows to the newer table, which may contain them already.
    "commit.retry.num-retries": "0",
    # Manifests name the least and the greatest value of a column, also of data files that are deleted.
    **{f"write.metadata.metrics.column.{name}": "none" for name in ("phone", "code_auth", "status_info")},
}
_PROPERTIES: Final = {
    **_REQUIRED_PROPERTIES,
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


@dataclass(frozen=True, slots=True)
class Lake:
    """The tables of an open lake."""

    billing: Table
    numbering: Table

    def cursors(self) -> dict[str, Cursor]:
        """The cursor of each account, by label."""
        return {
            name.removeprefix(CURSOR_PREFIX): Cursor(**json.loads(value))
            for name, value in self.billing.properties.items()
            if name.startswith(CURSOR_PREFIX)
        }

    def refresh(self) -> None:
        """Read the newest state of the tables."""
        self.billing.refresh()
        self.numbering.refresh()


def open_lake(folder: Path, catalogue: str | None, accounts: int = 1) -> Lake:
    """Open the tables of a lake; create those that are missing.

    Args:
        folder: Where the data files are.
        catalogue: URI of the catalogue, or its name in the configuration of pyiceberg; None for an SQLite file in the
            folder.
        accounts: Expected number of accounts, for the partitions of a new table.

    Raises:
        ConfigError: pyiceberg is not installed, or the folder or the catalogue cannot be used.
        ConcurrentRunError: Another process changed a table.
    """
    try:
        from pyiceberg.exceptions import NamespaceAlreadyExistsError
        from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
    except ImportError:
        raise ConfigError(
            "--lake needs libraries that are not installed; run: pip install 'billing-etl[lake]'"
        ) from None
    if not {"#", "?"}.isdisjoint(str(folder.resolve())):
        raise ConfigError(f"--out {folder}: the path of a lake must contain neither # nor ?")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder} must be a folder: {error.strerror}") from None
    opened = _open_catalogue(folder.resolve(), catalogue)
    schema = billing_schema()
    with suppress(NamespaceAlreadyExistsError, IntegrityError):  # created by another process just now
        opened.create_namespace(NAMESPACE)
    lake = Lake(
        _open_table(opened, BILLING, schema, billing_partitions(schema, accounts)),
        _open_table(opened, NUMBERING, numbering_schema(), UNPARTITIONED_PARTITION_SPEC),
    )
    if len(lake.billing.schema().fields) < len(schema.fields):  # the lake of an older version
        with translate_conflicts(), lake.billing.update_schema() as change:
            change.union_by_name(schema)
    for table in (lake.billing, lake.numbering):
        if not _REQUIRED_PROPERTIES.items() <= table.properties.items():
            with translate_conflicts(), table.transaction() as transaction:
                transaction.set_properties(_REQUIRED_PROPERTIES)
    return lake


def cursor_property(label: str, cursor: Cursor) -> Mapping[str, str]:
    """The table property that holds the cursor of an account."""
    return {CURSOR_PREFIX + label: json.dumps(cursor._asdict())}


def _open_catalogue(folder: Path, catalogue: str | None) -> Catalog:
    from pyiceberg.catalog import load_catalog

    if catalogue is not None and "://" not in catalogue:
        properties = {}
    elif catalogue is not None and catalogue.startswith(("http://", "https://")):
        properties = {"type": "rest", "uri": catalogue, "warehouse": str(folder)}
    else:
        uri = catalogue or f"sqlite:///{folder / CATALOGUE_FILE}"
        # The library takes the rest of such an address as a path, as it is.
        properties = {"type": "sql", "uri": uri, "warehouse": f"file://{folder}"}
    for _ in range(2):  # the first attempt fails where another process creates the tables of the catalogue just now
        try:
            return load_catalog(catalogue if not properties else NAMESPACE, **properties)
        except Exception as error:  # noqa: BLE001 - the library raises what its drivers raise, with the URI in it
            kind = type(error).__name__
    raise ConfigError(f"the catalogue of the lake cannot be opened ({kind}); see --catalogue")


def _open_table(catalogue: Catalog, name: tuple[str, str], schema: Schema, partitions: PartitionSpec) -> Table:
    from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError

    # An attempt to create a table that exists leaves a file of metadata.
    with suppress(NoSuchTableError):
        return catalogue.load_table(name)
    with suppress(TableAlreadyExistsError):
        catalogue.create_table(name, schema, partition_spec=partitions, properties=_PROPERTIES)
    return catalogue.load_table(name)
