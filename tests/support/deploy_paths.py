"""The files of deploy/, and how to relocate their absolute paths below another root."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
_HOST_PATH = re.compile(r"(?<![\w.}])/(?=(?:opt|etc|usr/local|var/lib|run/credentials)/)")


def relocate(text: str, root: Path) -> str:
    """Move the absolute paths of a text below `root`."""
    return _HOST_PATH.sub(f"{root}/", text)
