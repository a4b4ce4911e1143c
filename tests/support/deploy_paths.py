"""Where the files of deploy/ are, and how to read them as if another folder were the root of a host."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
_OF_A_HOST = re.compile(r"(?<![\w.}])/(?=(?:opt|etc|usr/local|var/lib|run/credentials)/)")


def moved(text: str, root: Path) -> str:
    """The text with what it says of the host's own folders said of those below `root`."""
    return _OF_A_HOST.sub(f"{root}/", text)
