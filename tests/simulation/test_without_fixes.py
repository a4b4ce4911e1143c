"""The simulation finds each known bug when its fix is removed."""

from __future__ import annotations

import pytest

from simulation.runner import open_laboratory
from simulation.scenario import Choice
from simulation.test_simulation import IGNORED
from simulation.without_fixes import FIXES, search

NIGHTS = 600
"""Far more than any bug needs."""


@pytest.mark.parametrize("number", FIXES)
def test_a_known_bug_is_found_when_its_fix_is_removed(number):
    fix = FIXES[number]
    with open_laboratory(IGNORED) as laboratory:
        found = search(laboratory, fix, 0, NIGHTS, Choice(always=fix.focus))
    assert found.failure is not None, f"{fix.without}, and no vendor of {found.nights} nights fails"
