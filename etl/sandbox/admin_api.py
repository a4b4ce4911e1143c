"""The admin API: a reserved path, outside the vendor's own, through which another process changes the sandbox.

    GET  /__sandbox__/state     records, policies, faults, requests, balance, now
    POST /__sandbox__/policies  {"end_date": "exclusive", "csv": {"delimiter": ","}}
    POST /__sandbox__/faults    {"fault": "status", "status": 503, "times": 2}, a list of faults, or {"clear": true}
    POST /__sandbox__/records   {"replace": [...]}, {"add": [...]}, {"remove": [...]}
    POST /__sandbox__/revise    {"seed": 7} or {}
    POST /__sandbox__/credit    {"add": 500}: top up the account
    POST /__sandbox__/clock     {"now": "2026-03-11T09:00:00"}; null for the current time
    POST /__sandbox__/reset     restore the first state

Responses are JSON: the new state, or 400 with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from etl.sandbox.formats import read_json
from etl.sandbox.responses import Response, json_response
from etl.sandbox.state import VendorState

ADMIN_PREFIX: Final = "__sandbox__"


def handle_admin(vendor: VendorState, method: str, path: list[str], body: bytes) -> Response:
    """Run a command of the admin API, or describe the state."""
    name = "/".join(path)
    if (method, name) == ("GET", "state"):
        return json_response(_describe_state(vendor))
    if method != "POST" or name not in _COMMANDS:
        return json_response({"error": f"GET state, or POST to one of {', '.join(_COMMANDS)}"}, 404)
    try:
        return json_response(_COMMANDS[name](vendor, read_json(body or b"{}")))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        return json_response({"error": f"{type(error).__name__}: {error}"}, 400)


def _describe_state(vendor: VendorState) -> dict[str, Any]:
    return {
        "records": vendor.dataset.records,
        "policies": asdict(vendor.policies),
        "faults": vendor.faults.pending(),
        "requests": [asdict(request) for request in vendor.requests],
        "balance": vendor.dataset.balance,
        "now": vendor.now.isoformat(),
    }


def _set_policies(vendor: VendorState, changes: Any) -> dict[str, Any]:
    vendor.policies = vendor.policies.changed(changes)
    return asdict(vendor.policies)


def _change_faults(vendor: VendorState, faults: Any) -> list[dict[str, Any]]:
    if faults == {"clear": True}:
        vendor.faults.clear()
    else:
        for fault in faults if isinstance(faults, list) else [faults]:
            vendor.faults.add(**fault)
    return vendor.faults.pending()


def _edit_records(vendor: VendorState, changes: Any) -> dict[str, int]:
    methods = {"replace": vendor.dataset.replace, "add": vendor.dataset.add, "remove": vendor.dataset.remove}
    for name, records in changes.items():
        methods[name](records)
    return {"records": len(vendor.dataset)}


def _revise_records(vendor: VendorState, options: Any) -> dict[str, Any]:
    return asdict(vendor.dataset.revise(**options))


def _top_up(vendor: VendorState, top_up: Any) -> dict[str, Decimal]:
    vendor.dataset.credit += Decimal(top_up["add"])
    return {"balance": vendor.dataset.balance}


def _set_clock(vendor: VendorState, clock: Any) -> dict[str, str]:
    vendor.set_now(datetime.fromisoformat(clock["now"]) if clock["now"] else None)
    return {"now": vendor.now.isoformat()}


def _reset_state(vendor: VendorState, _nothing: Any) -> dict[str, int]:
    vendor.reset()
    return {"records": len(vendor.dataset)}


_COMMANDS: Final[dict[str, Callable[[VendorState, Any], Any]]] = {
    "policies": _set_policies,
    "faults": _change_faults,
    "records": _edit_records,
    "revise": _revise_records,
    "credit": _top_up,
    "clock": _set_clock,
    "reset": _reset_state,
}
