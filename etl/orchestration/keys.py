"""Names of accounts that Dagster accepts.

A label may have any printable characters. A mapped step allows letters, digits and `_`; a partition forbids four
characters. Both names are derived from the label alone, so that they stay the same when other accounts come and go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

_FORBIDDEN_IN_PARTITIONS: Final = frozenset("|,[]")
_SEPARATOR: Final = "__"


def step_key(labels: Sequence[str]) -> str:
    """The key of the mapped step for accounts that run one after another, usually a single one."""
    return _SEPARATOR.join(map(_slug, labels))


def labels_of_step(key: str, labels: Iterable[str]) -> list[str]:
    """The accounts of a step, out of all configured `labels`.

    Raises:
        LookupError: An account is no longer configured.
    """
    by_slug = {_slug(label): label for label in labels}
    return [by_slug[slug] for slug in key.split(_SEPARATOR)]


def partition_key(label: str) -> str:
    """The key of an account's partition: the label, where Dagster accepts it."""
    return _slug(label) if _FORBIDDEN_IN_PARTITIONS & set(label) else label


def label_of_partition(key: str, labels: Iterable[str]) -> str:
    """The account of a partition, out of all configured `labels`.

    Raises:
        LookupError: The account is no longer configured.
    """
    return {partition_key(label): label for label in labels}[key]


def _slug(label: str) -> str:
    """The label if it is letters and digits with single `_` between them; otherwise these letters, and a digest."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_")
    return words if words == label else f"{words}_{sha256(label.encode()).hexdigest()[:10]}".lstrip("_")
