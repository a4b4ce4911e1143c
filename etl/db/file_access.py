"""Why the file of a database cannot be opened, by its path and permissions, with the solution."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_GIVE: Final = "give it to the user of the nightly job: chown or chmod"


def folder_problem(path: Path) -> str:
    """The problem with the folder of a file; empty without one."""
    folder = path.resolve().parent
    for parent in reversed([folder, *folder.parents]):
        # Not by Path.is_dir, which raises an error below a folder that this user may not search.
        if not os.path.isdir(parent):  # noqa: PTH112
            return f"the folder {folder} does not exist; create it, or correct the path of the database"
        if not os.access(parent, os.X_OK):
            return f"this user may not open files in {parent}; {_GIVE}"
    return ""


def file_problem(path: Path) -> str:
    """The problem with a file that could not be opened; empty if path and permissions do not show it."""
    if problem := folder_problem(path):
        return problem
    if path.is_dir():
        return f"{path} is a folder; the database has to be a file"
    if path.exists() and not os.access(path, os.R_OK):
        return f"this user may not read {path}; {_GIVE}"
    if not path.exists() or not os.access(path.resolve().parent, os.W_OK):
        return f"no file can be written in {path.resolve().parent}; {_GIVE}"
    return ""
