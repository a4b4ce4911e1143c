"""What the dashboard's server says when it cannot answer: one line.

Datasette's own way prints a traceback for whoever debugs it, with the values of all variables.
"""

from __future__ import annotations

import logging
import sys
from http import HTTPStatus
from typing import Any, Final

from datasette import Response, hookimpl  # type: ignore[import-untyped]  # it has no types
from datasette.plugins import pm  # type: ignore[import-untyped]

_OWN_WAY: Final = "datasette.handle_exception"


@hookimpl  # type: ignore[untyped-decorator]  # it has no types
def handle_exception(exception: Exception) -> Any:
    """Datasette's hook: the answer to a request that failed."""
    status = getattr(exception, "status", HTTPStatus.INTERNAL_SERVER_ERROR)
    reason = getattr(exception, "title", None) or type(exception).__name__
    logging.getLogger("etl").error("the dashboard could not answer: %s", reason)
    return Response.json({"ok": False, "error": reason, "status": status}, status=status)


def install_error_handler() -> None:
    """From here on, in this process."""
    if pm.has_plugin(_OWN_WAY):
        pm.unregister(name=_OWN_WAY)
        pm.register(sys.modules[__name__])
