"""Error handler of the dashboard: failed requests are logged in one line.

Datasette's own handler prints a traceback with the values of all variables.
"""

from __future__ import annotations

import logging
import sys
from http import HTTPStatus
from typing import Any, Final

from datasette import Response, hookimpl  # type: ignore[import-untyped]  # untyped
from datasette.plugins import pm  # type: ignore[import-untyped]

_DATASETTE_HANDLER: Final = "datasette.handle_exception"


@hookimpl  # type: ignore[untyped-decorator]  # untyped
def handle_exception(exception: Exception) -> Any:
    """Datasette hook: the response to a failed request."""
    status = getattr(exception, "status", HTTPStatus.INTERNAL_SERVER_ERROR)
    reason = getattr(exception, "title", None) or type(exception).__name__
    logging.getLogger("etl").error("the dashboard could not answer: %s", reason)
    return Response.json({"ok": False, "error": reason, "status": status}, status=status)


def install_error_handler() -> None:
    """Replace Datasette's handler in this process."""
    if pm.has_plugin(_DATASETTE_HANDLER):
        pm.unregister(name=_DATASETTE_HANDLER)
        pm.register(sys.modules[__name__])
