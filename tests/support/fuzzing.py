"""Hostile inputs: valid ones, mutated by tokens of their grammar and by bytes; the same for the same seed.

FUZZ_INPUTS is the number of inputs per fuzz test (10,000 unless set), FUZZ_SEED the seed.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from random import Random
from types import FrameType
from typing import TypeVar

import pytest

Value = TypeVar("Value")
Text = TypeVar("Text", str, bytes)

INPUTS = int(os.environ.get("FUZZ_INPUTS", "10000"))
SEED = os.environ.get("FUZZ_SEED", "0")
PART = 50_000
"""Inputs per test item; a long run has many items, which spread over the cores."""
MAX_LENGTH = 20_000
"""Bytes or characters of an input; mutations may repeat a piece of it many times."""
PATIENCE_SECONDS = 60.0
"""CPU time of this process for one input; on a loaded machine, wall time would look like a hang."""

parts = pytest.mark.parametrize("part", range(0, INPUTS, PART))


class Hang(BaseException):
    """One input took too long. A BaseException, so that no code under test catches it."""


@contextmanager
def watchdog() -> Iterator[Callable[[], None]]:
    """Yields a function to call before each input; raises Hang if the next call comes too late."""

    def raise_hang(_signum: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, raise_hang)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, PATIENCE_SECONDS) and None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(part: int, make: Callable[[Random], Value], accepts: Callable[[Value], bool]) -> None:
    """Try a part of the inputs.

    Args:
        part: The number of the first input.
        make: Makes a random input.
        accepts: Whether the program accepts the input; raises if it does anything but accept or refuse it.
    """
    accepted = 0
    numbers = range(part, min(part + PART, INPUTS))
    with watchdog() as restart:
        for number in numbers:
            value = make(Random(f"{SEED} {number}"))
            try:
                restart()
                accepted += accepts(value)
            except BaseException as error:
                error.add_note(f"with FUZZ_SEED={SEED}, input {number}: {value!r}")
                raise
    # A fuzz test whose inputs are always or never refused tests nothing.
    if len(numbers) >= 1000:
        assert len(numbers) // 100 < accepted < len(numbers) - len(numbers) // 100, accepted


def refill(path: Path, data: bytes) -> None:
    """Replace the content of a file in place: some file systems flush a file that is truncated and then written."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()


# Mutations -----------------------------------------------------------------------------------------------------------


def spoil(random: Random, seeds: Sequence[Text], tokens: Sequence[Text], grammar: re.Pattern[Text]) -> Text:
    """One of the seeds, unchanged or with up to five mutations.

    Args:
        random: Source of randomness.
        seeds: Known inputs.
        tokens: Replacements for tokens of the grammar.
        grammar: Finds a token of an input.
    """
    value = random.choice(seeds)
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        value = random.choice(_MUTATIONS)(random, value, random.choice(seeds), tokens, grammar)[:MAX_LENGTH]
    return value


def _spans(random: Random, value: Text, grammar: re.Pattern[Text]) -> list[tuple[int, int]]:
    # A few tokens around one position: finding all of them would take longer than trying the input.
    start = random.randrange(len(value) + 1)
    found = grammar.finditer(value, start)
    return [match.span() for match, _ in zip(found, range(4), strict=False)] or [(start, start)]


def _other_token(random: Random, value: Text, _other: Text, tokens: Sequence[Text], grammar: re.Pattern[Text]) -> Text:
    start, end = random.choice(_spans(random, value, grammar))
    return value[:start] + random.choice(tokens) + value[end:]


def _token_twice(random: Random, value: Text, _other: Text, _tokens: Sequence[Text], grammar: re.Pattern[Text]) -> Text:
    start, end = random.choice(_spans(random, value, grammar))
    return value[:end] + value[start:end] * random.choice((1, 1, 2, 50)) + value[end:]


def _token_lost(random: Random, value: Text, _other: Text, _tokens: Sequence[Text], grammar: re.Pattern[Text]) -> Text:
    start, end = random.choice(_spans(random, value, grammar))
    return value[:start] + value[end:]


def _tokens_swapped(random: Random, value: Text, _other: Text, _: Sequence[Text], grammar: re.Pattern[Text]) -> Text:
    spans = _spans(random, value, grammar)
    (one, one_end), (two, two_end) = spans[0], spans[-1]
    if one_end > two:
        return value
    return value[:one] + value[two:two_end] + value[one_end:two] + value[one:one_end] + value[two_end:]


def _character_changed(random: Random, value: Text, _other: Text, tokens: Sequence[Text], _: re.Pattern[Text]) -> Text:
    place = random.randrange(len(value) + 1)
    return value[:place] + _any_character(random, value) + value[place + random.randrange(2) :]


def _piece_lost(random: Random, value: Text, _other: Text, _tokens: Sequence[Text], _: re.Pattern[Text]) -> Text:
    start, end = sorted((random.randrange(len(value) + 1), random.randrange(len(value) + 1)))
    return value[:start] + value[end:]


def _cut(random: Random, value: Text, _other: Text, _tokens: Sequence[Text], _: re.Pattern[Text]) -> Text:
    return value[: random.randrange(len(value) + 1)]


def _piece_twice(random: Random, value: Text, _other: Text, _tokens: Sequence[Text], _: re.Pattern[Text]) -> Text:
    start, end = sorted((random.randrange(len(value) + 1), random.randrange(len(value) + 1)))
    return value[:end] + value[start:]


def _grafted(random: Random, value: Text, other: Text, _tokens: Sequence[Text], _: re.Pattern[Text]) -> Text:
    return value[: random.randrange(len(value) + 1)] + other[random.randrange(len(other) + 1) :]


def _any_character(random: Random, value: Text) -> Text:
    if isinstance(value, bytes):
        return bytes((random.randrange(256),))
    # Half of them ASCII; the others any code point, including surrogates.
    return chr(random.choice((random.randrange(128), random.randrange(0x500), random.randrange(0x110000))))


_MUTATIONS = (
    *(_other_token,) * 4,
    *(_token_twice, _token_lost, _tokens_swapped),
    *(_character_changed,) * 2,
    *(_piece_lost, _piece_twice, _cut, _grafted),
)


# Error messages ------------------------------------------------------------------------------------------------------

LONG_NUMBER = re.compile(r"\d{10}")


def assert_clean_message(error: BaseException) -> None:
    """Check that a message is one printable line, and that neither it nor its causes contain a phone number."""
    text = str(error)
    assert text
    assert text.isprintable(), text
    causes: list[BaseException] = [error]
    while (last := causes[-1].__context__) is not None:
        causes.append(last)
    for part in causes:
        held = chain([str(part)], map(repr, part.args), map(repr, vars(part).values()))
        assert not any(LONG_NUMBER.search(one) for one in held), part
