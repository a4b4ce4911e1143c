"""The secrets that tests use, and every form in which one might get out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

from etl.sandbox import DEFAULT_TOKEN

TOKEN = "7d1f0c5e-2b94-4c57-9a0e-5b1f3e8a6c21"
PASSWORD = "correct-horse-battery"
SECRETS = (TOKEN, PASSWORD, DEFAULT_TOKEN)
"""Of all tests that have a secret in clear: conftest looks for these in whatever a test prints or logs."""


def forms_of(secret: str) -> set[str]:
    """As it is, quoted, as Python or JSON would write it, in base64 at each alignment, and all that in other case."""
    raw = secret.encode()
    forms = {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1]}
    forms |= {repr(raw)[2:-1], raw.hex()}
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw).decode()
        # What the bytes before it and the padding behind it do not touch.
        part = whole[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        forms |= {part, part.translate(str.maketrans("+/", "-_"))}
    forms |= {secret[::-1], secret.replace("-", "%2D")}
    return forms | {form.swapcase() for form in forms} | {form.lower() for form in forms}


def leaks(text: str, secrets: Iterable[str] = SECRETS) -> list[str]:
    """The forms of secrets that stand in the text."""
    return sorted(form for secret in secrets for form in forms_of(secret) if form in text)


def leaks_of_files(folder: Path, secrets: Iterable[str]) -> list[str]:
    """The files that hold a secret, or are named for one."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        str(path) for path in files if leaks(f"{path} {path.read_bytes().decode('utf-8', 'backslashreplace')}", secrets)
    ]


def chain(error: BaseException | None) -> str:
    """All that an error, and every one it was made from, hold."""
    words: list[str] = []
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        held = [getattr(one, name, None) for name in ("object", "doc", "request", "response", "filename", "params")]
        words += [str(one), repr(one), repr(one.args), repr(vars(one)), *map(repr, held)]
        words += getattr(one, "__notes__", [])
        waiting += [one.__cause__, one.__context__, getattr(one, "orig", None)]
    return "\n".join(words)
