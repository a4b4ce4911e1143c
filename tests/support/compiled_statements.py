"""One cache of compiled statements for all engines of a process.

Each run has its own engine, and compiling its statements takes a third of the time of a small run. Tests make thousands
of runs.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect, Engine, event

MAX_STATEMENTS = 5_000
"""The cache is emptied at this size, because it also holds the statements of dropped tables."""


class SharedStatements(dict[Any, Any]):
    """Compiled statements. SQLAlchemy's keys contain the dialect object; here its traits take its place."""

    def __init__(self) -> None:
        self.kinds: dict[Hashable, int] = {}
        self.kind_of: WeakKeyDictionary[Dialect, int] = WeakKeyDictionary()

    def get(self, key: Any, default: Any = None) -> Any:
        """The compiled statement of a key."""
        return super().get(self._shared(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        if len(self) >= MAX_STATEMENTS:
            self.clear()
        super().__setitem__(self._shared(key), compiled)

    def _shared(self, key: Any) -> Hashable:
        dialect = key[0]
        kind = self.kind_of.get(dialect)
        if kind is None:
            kind = self.kind_of[dialect] = self.kinds.setdefault(traits_of(dialect), len(self.kinds))
        return (kind, *key[1:])


def traits_of(dialect: Dialect) -> Hashable:
    """Everything by which the dialects of two servers or connections differ, except the name of the database."""
    plain = {name: value for name, value in vars(dialect).items() if isinstance(value, str | int | tuple | None)}
    plain.pop("default_schema_name", None)
    return (type(dialect), dialect.identifier_preparer.initial_quote, *sorted(map(repr, plain.items())))


def share_compiled_statements() -> None:
    """Make every connection of this process use one cache."""
    shared = SharedStatements()

    @event.listens_for(Engine, "engine_connect")
    def use(connection: Connection) -> None:
        connection.execution_options(compiled_cache=shared)
