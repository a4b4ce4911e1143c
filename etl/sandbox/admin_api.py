"""The reserved path, outside of the vendor's space, by which another process changes the sandbox.

    GET  /__sandbox__/state     records, policies, faults, requests, balance, now
    POST /__sandbox__/policies  {"end_date": "exclusive", "csv": {"delimiter": ","}}
    POST /__sandbox__/faults    {"fault": "status", "status": 503, "times": 2}, a list of such, or {"clear": true}
    POST /__sandbox__/records   {"replace": [...]}, {"add": [...]}, {"remove": [...]}
    POST /__sandbox__/revise    {"seed": 7} or {}
    POST /__sandbox__/credit    {"add": 500}: somebody tops the account up
    POST /__sandbox__/clock     {"now": "2026-03-11T09:00:00"}; null for the real clock
    POST /__sandbox__/reset     back to the beginning

An answer is JSON: what there is now, or 400 and why not.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from etl.sandbox.formats import read_json
from etl.sandbox.responses import Response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.sandbox.server import Sandbox

ADMIN_PREFIX: Final = "__sandbox__"


def handle_admin(sandbox: Sandbox, method: str, path: list[str], body: bytes) -> Response:
    """Do what was posted to the reserved path, or tell the state."""
    name = "/".join(path)
    if (method, name) == ("GET", "state"):
        return json_response(_state(sandbox))
    if method != "POST" or name not in _COMMANDS:
        return json_response({"error": f"GET state, or POST to one of {', '.join(_COMMANDS)}"}, 404)
    try:
        return json_response(_COMMANDS[name](sandbox, read_json(body or b"{}")))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        return json_response({"error": f"{type(error).__name__}: {error}"}, 400)


def _state(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "records": sandbox.dataset.records,
        "policies": asdict(sandbox.policies),
        "faults": sandbox.faults.pending(),
        "requests": [asdict(request) for request in sandbox.requests],
        "balance": sandbox.dataset.balance,
        "now": sandbox.now.isoformat(),
    }


def _policies(sandbox: Sandbox, changes: Any) -> dict[str, Any]:
    sandbox.policies = sandbox.policies.changed(changes)
    return asdict(sandbox.policies)


def _faults(sandbox: Sandbox, faults: Any) -> list[dict[str, Any]]:
    if faults == {"clear": True}:
        sandbox.faults.clear()
    else:
        for fault in faults if isinstance(faults, list) else [faults]:
            sandbox.faults.add(**fault)
    return sandbox.faults.pending()


def _records(sandbox: Sandbox, changes: Any) -> dict[str, int]:
    methods = {"replace": sandbox.dataset.replace, "add": sandbox.dataset.add, "remove": sandbox.dataset.remove}
    for name, records in changes.items():
        methods[name](records)
    return {"records": len(sandbox.dataset)}


def _revise(sandbox: Sandbox, options: Any) -> dict[str, Any]:
    return asdict(sandbox.dataset.revise(**options))


def _credit(sandbox: Sandbox, top_up: Any) -> dict[str, Decimal]:
    sandbox.dataset.credit += Decimal(top_up["add"])
    return {"balance": sandbox.dataset.balance}


def _clock(sandbox: Sandbox, clock: Any) -> dict[str, str]:
    sandbox.set_now(datetime.fromisoformat(clock["now"]) if clock["now"] else None)
    return {"now": sandbox.now.isoformat()}


def _reset(sandbox: Sandbox, _nothing: Any) -> dict[str, int]:
    sandbox.reset()
    return {"records": len(sandbox.dataset)}


_COMMANDS: Final[dict[str, Callable[[Sandbox, Any], Any]]] = {
    "policies": _policies,
    "faults": _faults,
    "records": _records,
    "revise": _revise,
    "credit": _credit,
    "clock": _clock,
    "reset": _reset,
}
