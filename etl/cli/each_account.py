"""One action on each of several accounts: the failure of one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from etl.cli.output import OutputOptions, report_error
from etl.cli.selection import LoadedAccount, load_configured
from etl.config.schema import Settings
from etl.errors import BillingError, ConfigError
from etl.exit_codes import code_for_error, most_severe
from etl.log import log_context

T = TypeVar("T")


@dataclass(slots=True)
class Outcomes(Generic[T]):
    """What the action returned for each account, in order, and the errors of the others by label."""

    results: list[T] = field(default_factory=list)
    errors: dict[str, BillingError] = field(default_factory=dict)

    def exit_code(self, codes: Iterable[int]) -> int:
        """The most severe exit code, given those of the results."""
        return most_severe((*codes, *map(code_for_error, self.errors.values())))

    def error_documents(self, redact: Callable[[str], str]) -> list[dict[str, Any]]:
        """The errors, each as the JSON object of its account."""
        return [
            {"account": label, "error": redact(str(error)), "exit_code": code_for_error(error)}
            for label, error in self.errors.items()
        ]


def for_each_account(
    options: OutputOptions, selected: Sequence[LoadedAccount], act: Callable[[Settings], T]
) -> Outcomes[T]:
    """Act on each account, one after another, and report the errors with the account's label.

    Args:
        options: Verbosity and format of the output.
        selected: The accounts.
        act: The action.

    Raises:
        BillingError: The only account failed.
    """
    outcomes: Outcomes[T] = Outcomes()
    for label, settings in selected:
        try:
            with log_context(account=label):
                if isinstance(settings, ConfigError):
                    raise settings
                outcomes.results.append(act(settings))
        except BillingError as error:
            if len(selected) == 1:
                raise
            report_error(options, error, label)
            outcomes.errors[label] = error
    return outcomes


def load_valid(options: OutputOptions, accounts: tuple[str, ...]) -> Outcomes[Settings]:
    """The settings of the accounts, or of all that are configured; those with an error are reported and left out.

    Raises:
        ConfigError: The settings of the only account are wrong.
    """
    return for_each_account(options, load_configured(options, accounts), lambda settings: settings)
