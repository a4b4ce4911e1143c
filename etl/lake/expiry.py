"""Removes snapshots older than a time, and the files that no snapshot uses any more.

The library removes snapshots and keeps their files, which contain erased and purged rows; so do
files of exports that ended before their commit. All of them are deleted here.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from etl.lake.conflicts import translate_conflicts

if TYPE_CHECKING:
    from pyiceberg.table import Table


def expire_snapshots(table: Table, before: datetime) -> int:
    """Expire all snapshots but the current one that are older than a time, and delete the files that are not in use.

    Files that no snapshot ever used are deleted if they are older than the time, and only of a table in a local folder.

    Returns:
        The number of deleted files.

    Raises:
        ConcurrentRunError: Another process changed the table. No file is deleted.
    """
    table.refresh()
    used_before, on_disk = _files_of(table), _files_on_disk(table, before)
    with translate_conflicts():
        table.maintenance.expire_snapshots().older_than(before).commit()
    table.refresh()
    used = _files_of(table)
    unused = used_before - used
    # Engines spell a local file as file:/a, file:///a or /a.
    leftover = on_disk - {urlsplit(address).path for address in used | unused}
    for address in unused | leftover:
        with suppress(FileNotFoundError):  # deleted by another process
            table.io.delete(address)
    return len(unused | leftover)


def _files_on_disk(table: Table, before: datetime) -> set[str]:
    """Paths of the files in the table's folder that were written before a time; none if the folder is not a local one.

    A younger file may belong to an export that is in progress.
    """
    location = urlsplit(table.location())
    if location.scheme not in {"", "file"}:
        return set()
    found = set()
    for path in Path(location.path).rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < before.timestamp():
                found.add(str(path))
    return found


def _files_of(table: Table) -> set[str]:
    """Data files, delete files, manifests and manifest lists of all snapshots, and files of metadata."""
    files = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for statistics in (*table.metadata.statistics, *table.metadata.partition_statistics):
        files.add(statistics.statistics_path)
    for snapshot in table.metadata.snapshots:
        files.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in files:
                files.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                files.update(entry.data_file.file_path for entry in entries)
    return files
