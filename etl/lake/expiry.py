"""Removes snapshots older than a time, with the files that only they used.

The library forgets snapshots and keeps their files. What was forgotten or purged stands in these files, and numbers of
phones in the bounds that manifests keep of each column, so they are deleted here.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from etl.errors import ConcurrentRunError

if TYPE_CHECKING:
    from pyiceberg.table import Table


def expire_snapshots(table: Table, before: datetime) -> int:
    """Expire all snapshots but the current one that are older than a time, and delete their files.

    Returns:
        The number of deleted files.

    Raises:
        ConcurrentRunError: An export changed the table meanwhile.
    """
    from pyiceberg.exceptions import CommitFailedException

    used_before = _files_of(table)
    try:
        table.maintenance.expire_snapshots().older_than(before).commit()
    except CommitFailedException:
        raise ConcurrentRunError("an export changed the lake at the same time; run it again") from None
    table.refresh()
    unused = used_before - _files_of(table)
    for path in unused:
        with suppress(FileNotFoundError):  # of an expiry that was interrupted
            table.io.delete(path)
    return len(unused)


def _files_of(table: Table) -> set[str]:
    """Data files, delete files, manifests and manifest lists of all snapshots."""
    files: set[str] = set()
    for snapshot in table.metadata.snapshots:
        files.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in files:
                files.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                files.update(entry.data_file.file_path for entry in entries)
    return files
