"""Each case that the program once got wrong is found again by the simulation when its cure is taken out."""

from __future__ import annotations

import pytest

from simulation.runner import laboratory
from simulation.scenario import Choice
from simulation.test_simulation import IGNORED, OPEN
from simulation.without_cures import CURES, search

NIGHTS = 600
"""Far more than any of them needs."""


@pytest.mark.parametrize("number", CURES)
def test_a_case_is_found_again_when_its_cure_is_taken_out(number):
    cure = CURES[number]
    with laboratory(IGNORED) as place:
        found = search(place, cure, 0, NIGHTS, Choice(without=OPEN, always=cure.focus))
    assert found.failure is not None, f"{cure.without}, and {found.nights} nights survive it"
