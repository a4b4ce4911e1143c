"""Arguments of a run: the settings of an account at the sandbox, and a progress listener that does nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import URL

from etl.config.loader import load_account, parse_settings, select_accounts
from etl.config.schema import Settings
from etl.config.sources import read_configuration
from etl.sandbox import Sandbox
from etl.services.run import ProgressListener

NO_PROGRESS = ProgressListener(
    message=lambda _text: None, total=lambda _count: None, advance=lambda _window, _tally: None
)


def load_settings(config_file: Path | None = None, account: str | None = None) -> Settings:
    """The effective settings of one account."""
    return load_account(read_configuration(config_file), account)


def load_accounts(config_file: Path | None, labels: tuple[str, ...]) -> list[Settings]:
    """The settings of the selected accounts, as the commands load them."""
    configuration = read_configuration(config_file)
    return [load_account(configuration, label) for label in select_accounts(configuration, labels)]


def token_of(vendor: Sandbox, label: str) -> str:
    """A token for an account, always the same; two accounts may not share one."""
    token = str(uuid5(NAMESPACE_URL, label))
    vendor.tokens.add(token)
    return token


def settings_of(url: URL, vendor: Sandbox, start: date, **changes: Any) -> Settings:
    """Default settings of an account that starts at `start`; one attempt per request."""
    settings = parse_settings(
        [
            {
                "BILLING_API_TOKEN": vendor.token,
                "BILLING_API_URL": vendor.url,
                "BILLING_START_DATE": start.isoformat(),
                "BILLING_RETRY_ATTEMPTS": "1",
                "BILLING_RETRY_MAX_WAIT": "0",
                "BILLING_DATABASE_WAIT": "0",
            }
        ]
    )
    if "account" in changes:
        changes = {"api_token": token_of(vendor, changes["account"])} | changes
    return replace(settings, database_url=url, **changes)
