"""The systemd units, checked by systemd-analyze, and the mail that they send."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.deploy_paths import CHECKOUT, DEPLOY
from support.external_tools import tool

UNITS = DEPLOY / "systemd"
SERVICES = ["billing-etl.service", "billing-etl-deep.service"]


def directives(name: str) -> list[str]:
    return [line for line in (UNITS / name).read_text().splitlines() if line and not line.startswith("#")]


def exit_codes(name: str, key: str) -> set[int]:
    (line,) = [line for line in directives(name) if line.startswith(f"{key}=")]
    return {int(code) for code in line.partition("=")[2].split()}


def test_the_units_pass_systemd_analyze_verify(tmp_path):
    names = [path.name for path in UNITS.iterdir() if path.suffix in {".service", ".timer"}]
    assert len(names) == 5
    for name in names:
        # The program is not installed here; the test of the installation runs it.
        unit = re.sub(r"(?m)^ExecStart=/opt/\S+", "ExecStart=/bin/true", (UNITS / name).read_text())
        (tmp_path / name).write_text(unit)
    command = [tool("systemd-analyze"), "verify", *(tmp_path / name for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "billing" in line]) == (0, [])


@pytest.mark.parametrize("service", SERVICES)
def test_the_services_have_a_low_exposure(service):
    def is_safer_than(tenths: int) -> bool:
        command = [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={tenths}", UNITS / service]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert is_safer_than(15)
    assert not is_safer_than(5)  # so the threshold is effective


def test_the_weekly_service_differs_from_the_nightly_one_only_in_its_command():
    nightly, weekly = directives(SERVICES[0]), directives(SERVICES[1])
    differ = {line.partition("=")[0] for line in set(nightly) ^ set(weekly)}
    assert differ == {"Description", "ExecStart"}
    assert "ExecStart=/opt/billing-etl/bin/billing-etl sync" in nightly
    assert "ExecStart=/opt/billing-etl/bin/billing-etl sync --deep" in weekly


def test_only_temporary_failures_are_restarted():
    cronjob = yaml.safe_load((DEPLOY / "kubernetes/cronjob.yaml").read_text())
    *_, rule = cronjob["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    kubernetes = set(rule["onExitCodes"]["values"]) if rule["action"] == "FailJob" else set()
    for service in SERVICES:
        systemd = exit_codes(service, "RestartPreventExitStatus")
        assert {2, 70, 77, 78} <= systemd
        assert not {69, 74, 75} & (systemd | kubernetes)
        # systemd treats 65 and 143 as success; in a Job, 143 means that the node goes away.
        assert exit_codes(service, "SuccessExitStatus") == {65, 143}
        assert kubernetes == (systemd | {65}) - {143}


NIGHTS = [
    ("failed-billing-etl", "exit-code", "77", "failed (exit-code, 77)", "token"),
    ("failed-billing-etl", "exit-code", "78", "failed (exit-code, 78)", "configuration"),
    ("failed-billing-etl", "timeout", "143", "failed (timeout, 143)", "systemctl status"),
    ("failed-billing-etl", "start-limit-hit", "69", "failed (start-limit-hit, 69)", "vendor"),
    ("done-billing-etl", "success", "65", "complete, needs attention", "billing-etl status"),
    ("done-billing-etl", "success", "0", None, None),
    ("done-billing-etl", "success", "143", None, None),
    ("done-billing-etl", "exit-code", "69", None, None),  # before a retry
]


@pytest.mark.parametrize(("instance", "result", "code", "subject", "remedy"), NIGHTS)
def test_a_mail_is_sent_once_and_only_for_results_that_need_attention(
    tmp_path, instance, result, code, subject, remedy
):
    mail = notify(tmp_path, instance, result, code)
    if subject is None:
        assert mail is None
        return
    headers, _, body = mail.partition("\n\n")
    assert "To: ops@example.com" in headers.splitlines()
    assert headers.splitlines()[1].endswith(f": {subject}")
    assert "Subject: billing-etl.service on " in headers
    assert remedy in body


def test_the_text_of_the_mail_is_logged_without_a_mailer(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        notify(tmp_path, "failed-billing-etl", "exit-code", "77", sendmail=tmp_path / "none")
    assert "billing-etl.service: failed (exit-code, 77). The vendor refused the token" in failed.value.stderr


def notify(folder: Path, instance: str, result: str, code: str, sendmail: Path | None = None) -> str | None:
    """Run the script like systemd; returns the mail it sends, if any. The mailer writes it to a file."""
    mail = folder / "mail"
    if sendmail is None:
        sendmail = folder / "sendmail"
        sendmail.write_text(f"#!/bin/sh\nexec cat > '{mail}'\n")
        sendmail.chmod(0o755)
    monitored = {"MONITOR_UNIT": "billing-etl.service", "MONITOR_SERVICE_RESULT": result, "MONITOR_EXIT_STATUS": code}
    environment = {"PATH": os.environ["PATH"], "MAILTO": "ops@example.com", "SENDMAIL": str(sendmail)} | monitored
    script = CHECKOUT / "deploy/systemd/billing-etl-notify"
    subprocess.run([script, instance], env=environment, check=True, capture_output=True, text=True)
    return mail.read_text() if mail.exists() else None
