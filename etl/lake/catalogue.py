"""The catalogue of the lake, its tables, and how far each account is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etl.errors import ConfigError
from etl.lake.plan import Cursor
from etl.lake.schema import billing_schema, numbering_schema

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

NAMESPACE: Final = "billing"
BILLING: Final = (NAMESPACE, "billing")
NUMBERING: Final = (NAMESPACE, "numbering")
CATALOGUE_FILE: Final = "catalogue.db"
CURSOR_PREFIX: Final = "billing-etl.account."
"""Of the table properties that hold the cursor of an account; the label follows."""
_PROPERTIES: Final = {
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
        """How far each account is copied, by label."""
        return {
            name.removeprefix(CURSOR_PREFIX): Cursor(**json.loads(value))
            for name, value in self.billing.properties.items()
            if name.startswith(CURSOR_PREFIX)
        }


def open_lake(folder: Path, catalogue: str | None) -> Lake:
    """Open the tables of a lake; create those that are missing.

    Args:
        folder: Where the data files are.
        catalogue: URI of the catalogue, or its name in the configuration of pyiceberg; None for an SQLite file in the
            folder.

    Raises:
        ConfigError: pyiceberg is not installed, or the folder or the catalogue cannot be used.
    """
    try:
        from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
    except ImportError:
        raise ConfigError(
            "--lake needs libraries that are not installed; run: pip install 'billing-etl[lake]'"
        ) from None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder} must be a folder: {error.strerror}") from None
    opened = _open_catalogue(folder.resolve(), catalogue)
    schema, partitions = billing_schema()
    with suppress(NamespaceAlreadyExistsError):
        opened.create_namespace(NAMESPACE)
    with suppress(TableAlreadyExistsError):
        opened.create_table(BILLING, schema, partition_spec=partitions, properties=_PROPERTIES)
    with suppress(TableAlreadyExistsError):
        opened.create_table(NUMBERING, numbering_schema(), properties=_PROPERTIES)
    return Lake(opened.load_table(BILLING), opened.load_table(NUMBERING))


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
        properties = {"type": "sql", "uri": uri, "warehouse": folder.as_uri()}
    try:
        return load_catalog(catalogue if not properties else NAMESPACE, **properties)
    except Exception as error:  # noqa: BLE001 - the library raises what its drivers raise, with the URI in it
        kind = type(error).__name__
    raise ConfigError(f"the catalogue of the lake cannot be opened ({kind}); see --catalogue")
