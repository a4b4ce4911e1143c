"""A FileIO of PyIceberg that runs a command before it writes a file, to provoke conflicts.

PyIceberg loads it by its name, from the variables that `variables_of` returns.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Sequence

from pyiceberg.io.pyarrow import PyArrowFileIO

PREFIX = "PYICEBERG_CATALOG__BILLING__"
DATA, SNAPSHOT, METADATA = "/data/", "/snap-", ".metadata.json"
"""Parts of file names, in the order in which a commit writes the files."""
ONE_AT_A_TIME = threading.Lock()
"""Several threads write data files; only one rival can get the lock of an account."""


def variables_of(kind: str, command: Sequence[str]) -> dict[str, str]:
    """The environment of an export that runs a command before it writes a file of the kind."""
    properties = {
        "PY_IO_IMPL": f"{__name__}.{RivalFiles.__name__}", "RIVAL_KIND": kind, "RIVAL_COMMAND": shlex.join(command),
    }  # fmt: skip
    return {PREFIX + name: value for name, value in properties.items()}


class RivalFiles(PyArrowFileIO):
    """Runs a command before it writes a file of the kind."""

    def new_output(self, location):
        if self.properties["rival-kind"] in location:
            others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
            with ONE_AT_A_TIME:
                subprocess.run(shlex.split(self.properties["rival-command"]), env=others, check=True)
        return super().new_output(location)
