"""A signal is answered where the program can bear it, and nowhere else."""

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
def test_a_signal_raises_at_once_where_nothing_holds_it_back(number):
    with pytest.raises(Interrupted) as caught:
        signal.raise_signal(number)
    assert caught.value.signal_number == number


def test_a_block_that_holds_it_back_is_done_first():
    done = []
    with pytest.raises(Interrupted), signals.deferred():  # noqa: PT012 - the order is what is tested
        signal.raise_signal(signal.SIGTERM)
        done.append("the block")
    assert done == ["the block"]


def test_a_check_inside_of_the_block_answers_it():
    with pytest.raises(Interrupted), signals.deferred():  # noqa: PT012 - the order is what is tested
        signals.raise_if_interrupted()
        signal.raise_signal(signal.SIGTERM)
        signals.raise_if_interrupted()
        pytest.fail("it went on")


def test_blocks_within_blocks_wait_for_the_outermost_or_their_own_end():
    done = []
    with pytest.raises(Interrupted), signals.deferred():  # noqa: PT012 - the order is what is tested
        with signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
    assert done == ["inner"]


def test_a_block_of_another_thread_holds_nothing_back_and_the_next_one_there_does_not_begin():
    begun, end, ended = threading.Event(), threading.Event(), []

    def work():
        with suppress(Interrupted), signals.deferred():
            begun.set()
            end.wait()
            ended.append("the block")
        with suppress(Interrupted), signals.deferred():
            ended.append("the next block")

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    try:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    finally:
        end.set()
        thread.join()
    assert ended == ["the block"]


def test_no_block_begins_after_a_signal_that_was_swallowed():
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


def test_a_process_that_goes_on_after_a_signal_ends_when_its_time_is_over():
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
