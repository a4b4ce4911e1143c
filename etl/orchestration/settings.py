"""Variables that only orchestrators read. The accounts have their settings where the command line looks for them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from etl.errors import BillingError, ConfigError

VARIABLES: Final = ("BILLING_CONFIG", "BILLING_FIRST_MONTH", "BILLING_EXECUTOR")
EXECUTORS: Final = ("multiprocess", "in_process", "celery", "k8s")


@dataclass(frozen=True, slots=True)
class OrchestrationSettings:
    """How the definitions are loaded.

    Attributes:
        config_file: `BILLING_CONFIG`: the TOML file with the accounts; None for the default files.
        first_month: `BILLING_FIRST_MONTH`: the first month that a backfill offers, like 2024-01.
        executor: `BILLING_EXECUTOR`: what runs the steps.
    """

    config_file: str | None = None
    first_month: str = "2024-01"
    executor: str = "multiprocess"


def read_orchestration_settings(environment: Mapping[str, str] | None = None) -> OrchestrationSettings:
    """The settings of the environment, that of the process unless given.

    Raises:
        ConfigError: A value is invalid; the message names the variable.
    """
    values = os.environ if environment is None else environment

    def value(name: str, default: str, pattern: str, expected: str) -> str:
        text = values.get(name, "").strip() or default
        if not re.fullmatch(pattern, text):
            raise ConfigError(f"{name} is {text[:80]!r}, and must be {expected}")
        return text

    return OrchestrationSettings(
        config_file=values.get("BILLING_CONFIG", "").strip() or None,
        first_month=value("BILLING_FIRST_MONTH", "2024-01", r"20\d\d-(0[1-9]|1[0-2])", "a month like 2024-01"),
        executor=value("BILLING_EXECUTOR", "multiprocess", "|".join(EXECUTORS), f"one of {', '.join(EXECUTORS)}"),
    )


def name_variable(error: BillingError) -> str:
    """The text of an error, with the variable of the configuration in place of the command line's option."""
    return str(error).replace("--config:", "BILLING_CONFIG:", 1)
