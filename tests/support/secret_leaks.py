"""The secrets that tests use, and the encodings in which one might leak."""

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
"""conftest searches the output and the logs of each test for these."""


def encodings_of(secret: str) -> set[str]:
    """Encodings of a secret: plain, quoted, as Python or JSON literal, base64 at each alignment, in either case."""
    raw = secret.encode()
    forms = {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1]}
    forms |= {repr(raw)[2:-1], raw.hex()}
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw).decode()
        # The part that does not depend on the bytes before or after it.
        part = whole[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        forms |= {part, part.translate(str.maketrans("+/", "-_"))}
    forms |= {secret[::-1], secret.replace("-", "%2D")}
    return forms | {form.swapcase() for form in forms} | {form.lower() for form in forms}


def leaks(text: str, secrets: Iterable[str] = SECRETS) -> list[str]:
    """The encodings of secrets that a text contains."""
    return sorted(form for secret in secrets for form in encodings_of(secret) if form in text)


def leaks_of_files(folder: Path, secrets: Iterable[str]) -> list[str]:
    """The files that contain a secret, in the content or in the path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        str(path) for path in files if leaks(f"{path} {path.read_bytes().decode('utf-8', 'backslashreplace')}", secrets)
    ]


def error_text(error: BaseException | None) -> str:
    """Everything that an error and its causes contain, as text."""
    texts: list[str] = []
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        names = ("object", "doc", "request", "response", "filename", "params")
        values = [getattr(current, name, None) for name in names]
        texts += [str(current), repr(current), repr(current.args), repr(vars(current)), *map(repr, values)]
        texts += getattr(current, "__notes__", [])
        pending += [current.__cause__, current.__context__, getattr(current, "orig", None)]
    return "\n".join(texts)
