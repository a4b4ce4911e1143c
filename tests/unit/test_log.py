"""Log lines: redaction of secrets and phones, formats and levels."""

from __future__ import annotations

import base64
import gc
import io
import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.log import MASK, NOTICE_LOGGER, Redactor, _encodings_of, is_journal, log_context, set_up_logs

PLAIN = "00000000-0000-4000-8000-00000000000a"
SECRETS = {
    "a token": PLAIN,
    "signs of a URL": "5ecre7/t0ken+of=the&acc0unt",
    "a quote": "pa\"ss'word",
    "a backslash": "pass\\word\\n",
    "a line end": "pass\nword",
    "Cyrillic letters": "пароль-от-базы",
    "a quote among Cyrillic letters": 'пароль"от\\базы',
    "blanks": "pass word at@home",
    "four characters": "p4ss",
}

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOISY = ("urllib3", "sqlalchemy", "alembic", NOTICE_LOGGER)


@pytest.fixture(autouse=True)
def hooks_as_they_were() -> Iterator[None]:
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(capture=False)


def logged(
    log_format: str, *secrets: str, verbosity: int = 2, journal: bool = False
) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    set_up_logs(verbosity, log_format, Redactor(secrets), stream, journal=journal)
    return logging.getLogger("etl.somewhere"), stream


def fail(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError as error:
        raise RuntimeError(f"at {text}") from error


# Redaction -----------------------------------------------------------------------------------------------------------


@pytest.mark.fault(118)
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_hidden_in_every_encoding(secret):
    redact = Redactor([secret])
    coded = base64.b64encode(secret.encode()).decode()
    for form in (secret, quote(secret, safe=""), quote(secret, safe="").lower(), repr(secret)[1:-1], coded):
        assert redact(f"GET /a/{form}/b?c={form}") == f"GET /a/{MASK}/b?c={MASK}"
    assert redact(coded.rstrip("=") + "!") == f"{MASK}!"
    assert redact(json.dumps(secret)) == f'"{MASK}"'
    assert redact(json.dumps(secret, ensure_ascii=False)) == f'"{MASK}"'


def test_the_longest_form_is_hidden_first():
    assert Redactor(["pass", "password"])("password pass") == f"{MASK} {MASK}"


@given(st.lists(st.text("aA/é", min_size=4, max_size=7), max_size=5), st.text("aA/é", max_size=40))
def test_many_secrets_are_hidden_like_by_one_pattern(secrets, text):
    encodings = sorted((form for secret in secrets for form in _encodings_of(secret)), key=len, reverse=True)
    pattern = "|".join(map(re.escape, encodings)) or "(?!)"
    assert Redactor(secrets)(text) == re.sub(pattern, MASK, text, flags=re.IGNORECASE)


def test_case_is_ignored_for_letters_with_irregular_lower_case():
    redact = Redactor(["İstanbul", "ΟΔΟΣ"])
    assert redact("i̇stanbul İSTANBUL οδος οδοσ ΟΔΟΣΑ") == f"i̇stanbul {MASK} οδος {MASK} {MASK}Α"


def test_the_secrets_of_thousands_of_accounts_are_hidden_as_each_becomes_known():
    redact = Redactor()
    for number in range(5_000):
        redact.add([f"{PLAIN[:-4]}{number:04}"])
        assert redact(f"/{PLAIN[:-4]}{number:04}/") == f"/{MASK}/"
    assert redact(f"{PLAIN[:-4]}0000 {PLAIN[:-4]}4999 {PLAIN[:-4]}5000") == f"{MASK} {MASK} {PLAIN[:-4]}5000"


def test_secrets_can_be_added_later():
    redact = Redactor()
    assert redact(PLAIN) == PLAIN
    redact.add([PLAIN])
    redact.add(["another one"])
    assert redact(f"{PLAIN} another one") == f"{MASK} {MASK}"


def test_a_too_short_secret_is_not_hidden():
    assert Redactor(["", "abc"])("abc of the text") == "abc of the text"


@pytest.mark.parametrize(
    "text",
    [
        *("call to 89243555100", "+79243555100", "(89243555100)", "phone=89243555100", "phone='+79243555100', x"),
        *("9243555100 and 79243555100", "375291234567", '"phone": "89243555100"', "a call to 89243555100."),
        *('{"phone":89243555100}', "phone:89243555100", "89243555100: busy", "no call to 89243555100; none"),
    ],
)
def test_a_phone_number_is_hidden(text):
    assert "9243555100" not in Redactor()(text)
    assert "291234567" not in Redactor()(text)
    assert MASK in Redactor()(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2026-03-10 10:00:00,123",
            "2026-03-10T10:00:00.123456",
            "1200 records",
            "1234567.890000",
            "0.30000000000000004",
        ),
        *("2026-03-01..2026-03-07", "version 1.2.3", "8 windows", "HTTP 503", "d41d8cd98f00b204e9800998ecf8427e"),
    ],
)
def test_dates_amounts_and_digests_are_not_phone_numbers(text):
    assert Redactor()(text) == text


# Logs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("log_format", ["text", "json", "journal"])
def test_no_log_line_contains_a_secret_or_a_phone(log_format, secret):
    log, stream = logged(log_format, secret, journal=log_format == "journal")
    log.warning("message %s", f"<{secret}>")
    log.warning(f"{secret} 89243555100")
    log.warning("object %r", {"url": f"/x/{secret}/", "phone": "89243555100"})
    log.warning("extra", extra={"url": secret, "nested": {"deep": [secret]}})
    try:
        fail(secret)
    except RuntimeError:
        log.exception("with a traceback of %s", secret)
    log.warning("stack", stack_info=True)
    lines = stream.getvalue()
    assert lines.count("with a traceback") == 1
    for form in {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}:
        assert form not in lines
    assert "89243555100" not in lines


@pytest.mark.fault(117)
def test_secrets_in_other_loggers_are_hidden():
    _, stream = logged("text", PLAIN, verbosity=0)
    logging.getLogger("requests.sessions").warning("url /%s/", PLAIN)
    assert stream.getvalue() == f"WARNING: url /{MASK}/\n"


@pytest.mark.fault(116)
def test_urls_logged_by_urllib3_are_suppressed():
    _, stream = logged("text")
    logging.getLogger("urllib3.connectionpool").debug("GET /%s/", PLAIN)
    logging.getLogger("urllib3.connection").warning("Failed to parse headers (url=%s)", PLAIN)
    assert stream.getvalue() == ""


def test_a_warning_of_a_library_is_a_log_line():
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, stream = logged("text", PLAIN)
        warnings.warn(f"the url {PLAIN} is old", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert f"the url {MASK} is old" in stream.getvalue()
    assert PLAIN not in stream.getvalue()


def test_an_uncaught_error_is_logged_without_secrets():
    _, stream = logged("text", PLAIN)
    try:
        fail(PLAIN)
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    assert "RuntimeError: at ***" in stream.getvalue()
    assert PLAIN not in stream.getvalue()


def test_system_exit_in_a_thread_is_not_an_error():
    _, stream = logged("text")
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert stream.getvalue() == ""


class Untidy:
    def __repr__(self) -> str:
        return PLAIN

    def __del__(self) -> None:
        fail(PLAIN)


def test_an_error_in_a_thread_is_logged_without_secrets():
    _, stream = logged("text", PLAIN)
    thread = threading.Thread(target=fail, args=[PLAIN], name=PLAIN)
    thread.start()
    thread.join()
    assert "RuntimeError: at ***" in stream.getvalue()
    assert PLAIN not in stream.getvalue()


def test_an_error_in_a_finaliser_is_logged_without_secrets(capfd):
    _, stream = logged("text", PLAIN)
    Untidy()
    gc.collect()
    assert "RuntimeError: at ***" in stream.getvalue()
    assert PLAIN not in stream.getvalue() + "".join(capfd.readouterr())


@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_an_uncaught_error_is_one_line_below_vv(verbosity):
    _, stream = logged("text", verbosity=verbosity)
    sys.excepthook(RuntimeError, RuntimeError("no"), None)
    assert stream.getvalue().endswith("CRITICAL: a bug: RuntimeError\n")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("verbosity", "heard"),
    [(-1, "e"), (0, "we"), (1, "iwe"), (2, "diwe"), (7, "diwe"), (-3, "e")],
)
def test_the_log_level_follows_the_verbosity(verbosity, heard):
    log, stream = logged("text", verbosity=verbosity)
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(level)
    assert "".join(line.split(": ")[1][0] for line in stream.getvalue().splitlines()) == heard


def test_a_json_line_has_time_level_and_location():
    log, stream = logged("json", PLAIN)
    log.warning("no answer to %s", PLAIN)
    try:
        fail(PLAIN)
    except RuntimeError:
        log.exception("two\nlines")
    one, other = map(json.loads, stream.getvalue().splitlines())
    assert {name: one[name] for name in ("levelname", "name", "message")} == {
        "levelname": "WARNING",
        "name": "etl.somewhere",
        "message": f"no answer to {MASK}",
    }
    assert TIME.fullmatch(one["timestamp"])
    assert other["message"] == "two\nlines"
    assert "RuntimeError: at ***" in other["exc_info"]


def test_a_line_has_its_context():
    log, stream = logged("json")
    with log_context(run_id="7f2c", account="shop"):
        with log_context(window="2026-03-01..2026-03-07"):
            log.warning("one")
        log.warning("two")
    log.warning("three")
    about = [
        {name: line.get(name) for name in ("run_id", "account", "window")}
        for line in map(json.loads, stream.getvalue().splitlines())
    ]
    assert about == [
        {"run_id": "7f2c", "account": "shop", "window": "2026-03-01..2026-03-07"},
        {"run_id": "7f2c", "account": "shop", "window": None},
        {"run_id": None, "account": None, "window": None},
    ]


def test_text_names_the_account_once():
    log, stream = logged("text", verbosity=0)
    with log_context(account="shop", run_id="7f2c"):
        log.warning("no answer")
        log.warning("shop: no answer")
    assert stream.getvalue() == "WARNING: shop: no answer\n" * 2


def test_text_has_timestamps_when_verbose():
    log, stream = logged("text", verbosity=1)
    log.info("a window")
    time, _, rest = stream.getvalue().partition(" ")
    assert (TIME.fullmatch(time) is not None, rest) == (True, "INFO: a window\n")


def test_journal_lines_have_a_priority_and_no_timestamp():
    log, stream = logged("text", journal=True)
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)("what\n<0>ever")
    assert stream.getvalue().splitlines() == [
        line for priority in (7, 6, 4, 3, 2) for line in (f"<{priority}>what", f"<{priority}><0>ever")
    ]


def test_json_lines_are_unchanged_in_the_journal():
    log, stream = logged("json", journal=True)
    log.warning("what")
    assert json.loads(stream.getvalue())["message"] == "what"


def test_the_journal_is_detected_by_the_stream_that_systemd_names(tmp_path):
    with (tmp_path / "journal").open("w") as stream:
        found = os.fstat(stream.fileno())
        assert is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(stream, {})
        assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})


def test_repeated_setup_replaces_the_handlers():
    _, first = logged("text", verbosity=0)
    log, second = logged("text", verbosity=0)
    log.warning("once")
    assert (first.getvalue(), second.getvalue()) == ("", "WARNING: once\n")


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [
        (-1, (logging.ERROR, logging.CRITICAL, logging.WARNING, logging.WARNING)),
        (0, (logging.ERROR, logging.CRITICAL, logging.WARNING, logging.INFO)),
        (1, (logging.ERROR, logging.CRITICAL, logging.WARNING, logging.INFO)),
        (2, (logging.ERROR, logging.WARNING, logging.NOTSET, logging.INFO)),
    ],
)
def test_libraries_have_their_own_levels_and_sqlalchemy_never_logs_rows(verbosity, levels):
    logged("text", verbosity=verbosity)
    assert tuple(logging.getLogger(name).level for name in NOISY) == levels
