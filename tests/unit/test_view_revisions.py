"""Views change only with a schema revision, because a database at the newest revision is not migrated."""

from __future__ import annotations

import hashlib

from etl.db.tables import SCHEMA_REVISION
from etl.db.views import create_view_statements

VIEWS_OF = {
    "0001": "7fe9ed3831b57181",
    "0002": "7fe9ed3831b57181",
    "0003": "47866ffbc36f3025",
    "0004": "49dfcdcbc07b5b7b",
    "0005": "49dfcdcbc07b5b7b",
    "0006": "812e66e97ae1a1c1",
    "0007": "a4d0f81ccebb4a3b",
    "0008": "01868e568c759968",
    "0009": "a3c85d8795fda85a",
    "0010": "c86e20f349a01bc7",
    "0011": "3cdd93babe0ca7cb",
}
"""The digest of all views on all databases, by schema revision. A new revision gets a new line."""


def test_a_view_changes_only_with_a_schema_revision() -> None:
    statements = [
        statement for backend in ("mysql", "postgresql", "sqlite") for statement in create_view_statements(backend)
    ]
    digest = hashlib.sha256("\n".join(statements).encode()).hexdigest()[:16]
    assert digest == VIEWS_OF[SCHEMA_REVISION]
