"""A signal is answered where the program can bear it, and nowhere else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from etl import signals
from etl.errors import Interrupted


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch) -> Iterator[None]:
    """The handlers and what they know. The timers that would end this process, and all tests in it, are stopped."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    monkeypatch.setattr(signals, "_state", type(signals._state)())
    timers: list[threading.Timer] = []
    make = threading.Timer

    def make_and_note(*arguments: Any) -> threading.Timer:
        timers.append(make(*arguments))
        return timers[-1]

    monkeypatch.setattr(threading, "Timer", make_and_note)
    signals.install_handlers()
    yield
    for timer in timers:
        timer.cancel()
    for number, handler in before.items():
        signal.signal(number, handler)


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


def test_no_block_begins_after_a_signal_that_was_swallowed():
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted), signals.deferred():
        pytest.fail("it went on")


def test_an_error_of_the_block_is_not_replaced_by_the_signal():
    with pytest.raises(ZeroDivisionError), signals.deferred():  # noqa: PT012 - the order is what is tested
        signal.raise_signal(signal.SIGTERM)
        _ = 1 / 0


def test_a_second_signal_changes_nothing():
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    assert signals._state.received == signal.SIGTERM


def test_a_program_that_does_not_stop_is_ended(monkeypatch):
    left = threading.Event()
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(signals, "_force_exit", lambda _number: left.set())
    with signals.deferred():
        signal.raise_signal(signal.SIGTERM)
        assert left.wait(20)
        signals._state.received = None
