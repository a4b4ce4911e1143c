"""Policies for exit codes, reasons for exit code 65, and the names of accounts in Dagster."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from etl import api
from etl.config.sources import read_configuration
from etl.errors import ConfigError
from etl.exit_codes import EXIT_CODES
from etl.orchestration.keys import label_of_partition, labels_of_step, partition_key, step_key
from etl.orchestration.outcome import NextStep, next_step, run_metadata
from etl.orchestration.settings import VARIABLES, OrchestrationSettings, read_orchestration_settings

DAY = date(2026, 3, 10)


def test_every_exit_code_has_a_next_step():
    assert {code: next_step(code) for code in EXIT_CODES} == {
        0: NextStep.DONE, 1: NextStep.FAIL, 2: NextStep.FAIL, 65: NextStep.REVIEW, 69: NextStep.RETRY,
        70: NextStep.FAIL, 74: NextStep.RETRY, 75: NextStep.RETRY, 77: NextStep.FAIL, 78: NextStep.FAIL,
        130: NextStep.RETRY, 143: NextStep.RETRY,
    }  # fmt: skip
    assert [next_step(code) for code in (137, 139, 64, 128)] == [NextStep.RETRY] * 2 + [NextStep.FAIL] * 2


def test_metadata_is_flat_and_exact_without_unknown_values():
    window = api.DateRange(DAY, DAY)
    result = api.RunResult(
        "shop", "sync", 0, requested=(window,), requested_rows=api.RunRows(days=1, new=2), besides=(date(2026, 3, 1),),
        besides_rows=api.RunRows(days=1, changed=1), spend=Decimal("0.100000"), watermark=DAY,
    )  # fmt: skip
    values = run_metadata(result)
    assert values["requested"] == "2026-03-10 to 2026-03-10"
    assert (values["spend"], values["watermark"], values["besides"]) == ("0.100000", "2026-03-10", "2026-03-01")
    assert (values["requested_new"], values["besides_changed"]) == (2, 1)
    assert not {"balance", "error", "review", "retired"} & values.keys()


LABELS = ["shop", "shop_2", "shop-2", "shop 2", "Кафе, Москва", "кафе [2]", "a__b", "_a", "a|b"]


def test_every_label_can_be_restored_from_its_keys():
    keys = [step_key([label]) for label in LABELS]
    assert len(set(keys)) == len(LABELS)
    assert all(key.isascii() and key.replace("_", "").isalnum() for key in keys)
    assert (keys[0], keys[1]) == ("shop", "shop_2")
    assert [labels_of_step(key, LABELS) for key in keys] == [[label] for label in LABELS]
    assert labels_of_step(step_key(LABELS), LABELS) == LABELS
    partitions = [partition_key(label) for label in LABELS]
    assert partitions[:4] == LABELS[:4]
    assert not any(set("|,[]") & set(partition) for partition in partitions)
    assert [label_of_partition(key, LABELS) for key in partitions] == LABELS
    with pytest.raises(LookupError):
        labels_of_step("gone", LABELS)


def test_settings_are_read_from_the_environment_and_errors_named():
    assert read_orchestration_settings({}) == OrchestrationSettings()
    given = {"BILLING_CONFIG": "/etc/b.toml", "BILLING_FIRST_MONTH": "2025-03", "BILLING_EXECUTOR": "celery"}
    assert read_orchestration_settings(given) == OrchestrationSettings("/etc/b.toml", "2025-03", "celery")
    for name, value in (("BILLING_FIRST_MONTH", "2025-13"), ("BILLING_EXECUTOR", "slurm")):
        with pytest.raises(ConfigError, match=f"{name} is '{value}', and must be "):
            read_orchestration_settings({name: value})


def test_orchestration_variables_are_no_errors_in_account_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.setenv(name, "x")
    assert list(read_configuration().problems(None)) == []
