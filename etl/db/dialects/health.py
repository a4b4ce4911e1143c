"""Values and messages of the health checks that several dialects share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

from etl.errors import CheckFailedError

ROW_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""Privileges that a run needs on tables; on views it needs SELECT."""
FOR_MIGRATIONS: Final = "for migrations"


class Caution(str):
    """The message of a check that needs attention although a sync works."""

    __slots__ = ()


class HealthCheck(NamedTuple):
    """A check: `probe` returns a message, or raises CheckFailedError with the problem and its solution."""

    name: str
    probe: Callable[[], str]


class SchemaAccess(NamedTuple):
    """The objects of the schema, and how the program uses them.

    Attributes:
        tables: Tables whose rows it changes, each with one of its columns.
        views: Views that it reads.
        version_table: Table with the revision.
        migrates: Whether it creates and migrates the schema.
    """

    tables: Mapping[str, str]
    views: Collection[str]
    version_table: str
    migrates: bool

    @property
    def names(self) -> list[str]:
        """Names of all objects."""
        return [*self.tables, *self.views, self.version_table]

    def changes(self, name: str) -> bool:
        """Whether the program changes rows of this object."""
        return name in self.tables or (name == self.version_table and self.migrates)


class MissingPrivilege(NamedTuple):
    """A missing privilege on an object.

    Attributes:
        privilege: A privilege, or the role that owns the tables.
        on: The object in the syntax of GRANT; empty for a role.
        why: The purpose; empty if every run needs it.
    """

    privilege: str
    on: str
    why: str = ""


def describe_limits(limits: Mapping[str, float]) -> str:
    """Describe time limits by name, in seconds; 0 is none."""
    return ", ".join(f"{name} {seconds:g} s" if seconds else f"{name} none" for name, seconds in limits.items())


def require_writable_server(read_only: Collection[str]) -> str:
    """Require that none of the settings that make a server or a session read-only is on.

    Raises:
        CheckFailedError: The message names them.
    """
    if read_only:
        raise CheckFailedError(
            f"the database is read-only ({', '.join(sorted(read_only))} is on): is it a replica? use the primary"
        )
    return "the server accepts changes"
