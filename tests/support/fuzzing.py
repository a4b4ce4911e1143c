"""Hostile inputs: known good ones, spoilt by rules of their grammar and byte by byte, the same for the same seed.

FUZZ_INPUTS says how many each fuzz test tries (10,000 unless set), FUZZ_SEED where the chances begin.
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
"""Inputs a test: a long run has many, and they spread over the cores."""
LONGEST = 20_000
"""Bytes or characters of an input: a mutation may repeat a piece of it many times over."""
PATIENCE_SECONDS = 60.0
"""Of this process's own computing time, for one input: a loaded machine does not look like a hang."""

parts = pytest.mark.parametrize("part", range(0, INPUTS, PART))


class Hang(BaseException):
    """One input took all of the patience. A BaseException, so that nothing on the way takes it for its own."""


@contextmanager
def watchdog() -> Iterator[Callable[[], None]]:
    """Gives what is called before each input, and raises Hang where the next call does not come in time."""

    def bark(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, bark)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, PATIENCE_SECONDS) and None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(part: int, make: Callable[[Random], Value], accepts: Callable[[Value], bool]) -> None:
    """Try a part of the inputs.

    Args:
        part: The number of the first one.
        make: Makes an input by chance.
        accepts: Whether the program takes the input for good; raises where it does anything but take or refuse it.
    """
    accepted = 0
    numbers = range(part, min(part + PART, INPUTS))
    with watchdog() as wake:
        for number in numbers:
            value = make(Random(f"{SEED} {number}"))
            try:
                wake()
                accepted += accepts(value)
            except BaseException as error:
                error.add_note(f"with FUZZ_SEED={SEED}, input {number}: {value!r}")
                raise
    # A fuzz test that is refused every time, or never, tries nothing.
    if len(numbers) >= 1000:
        assert len(numbers) // 100 < accepted < len(numbers) - len(numbers) // 100, accepted


def refill(path: Path, data: bytes) -> None:
    """Give a file other content. In its place: to cut a file to nothing and fill it makes some file systems flush."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()


# Mutations -----------------------------------------------------------------------------------------------------------


def spoil(random: Random, seeds: Sequence[Text], tokens: Sequence[Text], grammar: re.Pattern[Text]) -> Text:
    """One of the seeds, whole or changed in up to five places.

    Args:
        random: Chance.
        seeds: Known inputs.
        tokens: What the grammar's words may become.
        grammar: Finds a word of an input.
    """
    value = random.choice(seeds)
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        value = random.choice(_MUTATIONS)(random, value, random.choice(seeds), tokens, grammar)[:LONGEST]
    return value


def _spans(random: Random, value: Text, grammar: re.Pattern[Text]) -> list[tuple[int, int]]:
    # Few words around one place: to find all of them would cost more than to try the input.
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


def _one_changed(random: Random, value: Text, _other: Text, tokens: Sequence[Text], _: re.Pattern[Text]) -> Text:
    place = random.randrange(len(value) + 1)
    return value[:place] + _any_one(random, value) + value[place + random.randrange(2) :]


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


def _any_one(random: Random, value: Text) -> Text:
    if isinstance(value, bytes):
        return bytes((random.randrange(256),))
    # Half of them ASCII; of the others any code point, surrogates among them.
    return chr(random.choice((random.randrange(128), random.randrange(0x500), random.randrange(0x110000))))


_MUTATIONS = (
    *(_other_token,) * 4,
    *(_token_twice, _token_lost, _tokens_swapped),
    *(_one_changed,) * 2,
    *(_piece_lost, _piece_twice, _cut, _grafted),
)


# What every refusal and every answer must be -------------------------------------------------------------------------

LONG_NUMBER = re.compile(r"\d{10}")


def assert_discreet(error: BaseException) -> None:
    """One line of words; neither it nor an error it stands on holds a phone number."""
    text = str(error)
    assert text
    assert text.isprintable(), text
    chain_: list[BaseException] = [error]
    while (last := chain_[-1].__context__) is not None:
        chain_.append(last)
    for part in chain_:
        held = chain([str(part)], map(repr, part.args), map(repr, vars(part).values()))
        assert not any(LONG_NUMBER.search(one) for one in held), part
