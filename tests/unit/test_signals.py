"""Signals are handled outside of deferred blocks."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from etl import signals
from etl.errors import Interrupted

pytestmark = pytest.mark.usefixtures("handlers")


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_raises_at_once_outside_of_deferred_blocks(number):
    with pytest.raises(Interrupted) as caught:
        signal.raise_signal(number)
    assert caught.value.signal_number == number


def test_a_deferred_block_completes_before_the_signal_raises():
    done = []
    with pytest.raises(Interrupted), signals.deferred():  # noqa: PT012 - the order is what is tested
        signal.raise_signal(signal.SIGTERM)
        done.append("the block")
    assert done == ["the block"]


def test_a_check_inside_of_a_deferred_block_raises():
    with pytest.raises(Interrupted), signals.deferred():  # noqa: PT012 - the order is what is tested
        signals.raise_if_interrupted()
        signal.raise_signal(signal.SIGTERM)
        signals.raise_if_interrupted()
        pytest.fail("it went on")


def test_nested_blocks_defer_until_the_outermost_ends():
    done = []
    with pytest.raises(Interrupted), signals.deferred():  # noqa: PT012 - the order is what is tested
        with signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
    assert done == ["inner"]


def test_a_block_of_another_thread_defers_nothing_and_the_next_one_does_not_start():
    started, end, ended = threading.Event(), threading.Event(), []

    def work():
        with suppress(Interrupted), signals.deferred():
            started.set()
            end.wait()
            ended.append("the block")
        with suppress(Interrupted), signals.deferred():
            ended.append("the next block")

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    finally:
        end.set()
        thread.join()
    assert ended == ["the block"]


def test_no_block_starts_after_a_swallowed_signal():
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted), signals.deferred():
        pytest.fail("it went on")


def test_an_error_of_the_block_is_not_replaced_by_the_signal():
    with pytest.raises(ZeroDivisionError), signals.deferred():  # noqa: PT012 - the order is what is tested
        signal.raise_signal(signal.SIGTERM)
        _ = 1 / 0


def test_a_second_signal_is_ignored():
    with pytest.raises(Interrupted) as caught, signals.deferred():  # noqa: PT012 - the order is what is tested
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.signal_number == signal.SIGTERM


def test_a_process_that_ignores_a_signal_ends_after_the_grace_period():
    program = """
import signal, threading
from etl import signals
signals.install_handlers(grace_seconds=0.1)
with signals.deferred():
    signal.raise_signal(signal.SIGTERM)
    threading.Event().wait()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (143, "billing-etl: stopped by SIGTERM, not waiting any longer\n")
