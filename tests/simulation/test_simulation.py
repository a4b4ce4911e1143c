"""Nights against simulated vendors; SIMULATE_NIGHTS sets their number.

The seeds are fixed, so that a build fails reproducibly. `make simulate` uses others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest

from simulation.foci import FOCI
from simulation.freedoms import FREEDOMS
from simulation.runner import Laboratory, open_laboratory
from simulation.scenario import ALL, Choice, Scenario, draw_scenario
from simulation.shrinker import describe, shrink
from simulation.vendor import Item, Vendor

NIGHTS = int(os.environ.get("SIMULATE_NIGHTS", "3500"))
PARTS = 20
"""Tests of vendors without a focus, so that processes share them."""
FOCUSED_SHARE = 0.4
"""Share of the nights of vendors with a focus."""
IGNORED: tuple[str, ...] = ("cost",)
"""Kinds of violations that are ignored: an account with records on a single day may need more requests."""


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    with open_laboratory(IGNORED) as laboratory:
        yield laboratory


def simulate(laboratory: Laboratory, seeds: Iterator[int], nights: float, choice: Choice) -> None:
    done = 0
    while done < nights:
        scenario = draw_scenario(next(seeds), choice)
        failure = laboratory.run(scenario)
        done += scenario.nights
        if failure is not None:
            pytest.fail(describe(shrink(laboratory, failure)), pytrace=False)


@pytest.mark.parametrize("part", range(PARTS))
def test_database_and_exit_code_are_correct_for_any_vendor(laboratory, part):
    nights = NIGHTS * (1 - FOCUSED_SHARE) / PARTS
    simulate(laboratory, count(part * 1_000_000), nights, ALL)


@pytest.mark.parametrize("focus", FOCI)
def test_database_and_exit_code_are_correct_for_vendors_with_the_freedoms_of_a_bug(laboratory, focus):
    seeds = count(list(FOCI).index(focus) * 1_000_000 + 500_000)
    simulate(laboratory, seeds, NIGHTS * FOCUSED_SHARE / len(FOCI), Choice(always=FOCI[focus]))


UNREADABLE = {"field": "no_price", "scope": "records", "share": 0.388, "nights": [2, 4]}
REGRESSIONS = {
    "a limit hides a record that cannot be read": Scenario(
        5_500_011, 6,
        {"history": 2, "json_limit": {"size": 13, "keeps": "newest"}, "json_unreadable": UNREADABLE},
        tuple(range(29, 43)),
    ),
    "JSON is empty, and the CSV is truncated": Scenario(
        18_500_000, 6,
        {
            "busy_days": 3, "default_start": True, "csv_limit": {"size": 10, "keeps": "oldest"},
            "json_scientific": "scientific", "json_hides": {"share": 1.0, "nights": [2, 5]},
        },
        (185, 181, 180, 187, 192, 202, 205, 206, 208, 204, 215),
    ),
    "all that an account has are ten records of two days": Scenario(
        7_000_024, 1,
        {
            "volume": 2.9, "level": True, "repeats": 0.285, "large_prices": 0.14, "history": 2, "contract": 0,
            "csv_scientific": "rounded",
        },
        (18, 19, 20, 21, 22, 23),
    ),
    "the oldest day that is served passes while a run is under way": Scenario(
        17_000_034, 1, {"default_start": True, "retention": 20, "arrivals": 3600, "huge_texts": 0.042}, (78, 81)
    ),
    "a day was empty in JSON while the CSV could not be read": Scenario(
        6_000_013, 7,
        {
            "newest_down": {"nights": [0, 99], "share": 1.0, "kind": "503"}, "respells": {"nights": [3, 102]},
            "csv_minutes": True, "json_hides": {"share": 1.0, "nights": [0, 99]},
        },
        (58,),
    ),
    "a gap parts the days of the lookback": Scenario(
        77_000_716, 2,
        {"backfill_first": True, "csv_minutes": True, "json_hides": {"share": 0.432, "nights": [0, 99]}},
        (53,),
    ),
    "no time can be read of the only records of a day": Scenario(
        110_001_069, 10,
        {
            "growth": 1.041, "quiet_days": 0.863, "default_start": True, "hour": 23, "missed_nights": True,
            "later_contract": 4, "csv_lags": 86400,
            "json_unreadable": {"field": "no_time", "scope": "records", "share": 0.49, "nights": [4, 7]},
        },
        (63, 61, 67, 58, 65, 62, 66, 64, 56, 60, 59),
    ),
    "an unreadable record of an unknown day may be one of a day that turns empty": Scenario(
        110_000_400, 11,
        {
            "odd_keys": 0.488, "emptied_days": {"share": 0.221, "nights": [7, 8]}, "missed_nights": True, "deep": 0.416,
            "json_unreadable": {"field": "time", "scope": "days", "share": 0.213, "nights": [0, 99]},
        },
        (71, 79, 81, 124),
    ),
    "JSON and the CSV each lack records of the other": Scenario(
        110_001_025, 1,
        {
            "history": 25, "csv_cut_zone": -3, "later_contract": 1,
            "json_doubled": {"share": 0.2, "nights": [0, 99]},
        },
        (36, 35, 37),
    ),
    "a limit truncates the first day of a contract, and the CSV cannot be read": Scenario(
        30_500_012, 1,
        {
            "growth": 1.094, "window": 5, "history": 25, "later_contract": 4,
            "json_limit": {"size": 16, "keeps": "oldest"}, "csv_minutes": True,
        },
        (
            86, 74, 76, 81, 82, 78, 87, 73, 85, 75, 77, 89, 80, 72, 88, 79, 83, 151, 156, 155, 149, 144, 157, 153,
            142, 147, 141, 143, 146, 148, 158, 150, 152, 164, 162, 163, 160, 159, 161, 165, 179, 170, 174, 175, 181,
            177, 167, 169, 168, 180, 176, 166, 171, 178, 173, 172, 182, 187, 188, 191, 193, 184, 190, 183, 186, 192,
            189, 185, 201, 214, 221, 200, 206, 194, 208, 196, 197, 215, 211, 205, 217, 213, 216, 223, 204, 212, 222,
            210, 225, 209, 218, 207, 227, 203, 198, 220, 226, 199, 224, 219, 195, 202, 261, 262, 242, 270, 248, 239,
            259, 264, 246, 233, 249, 244, 241, 268, 240,
        ),
    ),
    "a limit truncates the first day of a contract, and the CSV is of another zone": Scenario(
        30_500_012, 1,
        {
            "growth": 1.094, "window": 5, "history": 25, "csv_cut_zone": -15, "later_contract": 4,
            "json_limit": {"size": 16, "keeps": "oldest"},
        },
        (
            86, 74, 76, 81, 82, 78, 87, 73, 85, 75, 77, 89, 80, 72, 88, 79, 83, 151, 156, 155, 149, 144, 157, 153,
            142, 147, 141, 143, 146, 148, 158, 150, 152, 164, 162, 163, 160, 159, 161, 165, 179, 170, 174, 175, 181,
            177, 167, 169, 168, 180, 176, 166, 171, 178, 173, 172, 182, 187, 188, 191, 193, 184, 190, 183, 186, 192,
            189, 185, 201, 214, 221, 200, 206, 194, 208, 196, 197, 215, 211, 205, 217, 213, 216, 223, 204, 212, 222,
            210, 225, 209, 218, 207, 227, 203, 198, 220, 226, 199, 224, 219, 195, 202, 261, 262, 242, 270, 248, 239,
            259, 264, 246, 233, 249, 244, 241, 268, 240,
        ),
    ),
    "the CSV hides a day beside one that JSON lists": Scenario(
        220_000_276, 1,
        {
            "growth": 1.095, "window": 10, "history": 15, "json_limit": {"size": 10, "keeps": "oldest"},
            "csv_hides": {"share": 0.44, "nights": [0, 99]},
        },
        (
            121, 144, 127, 136, 134, 133, 143, 126, 130, 138, 142, 159, 192, 200, 211, 233, 224, 239, 237, 227, 236,
            232, 226, 225, 231, 221, 223, 229, 234, 238, 219, 220, 235, 218, 228, 222, 216, 240, 262, 250, 253, 252,
            259, 248, 256, 254, 255, 260, 258, 245, 251, 261, 246, 243, 247, 257, 244, 249, 241, 242, 287, 289, 299,
            292, 285, 278, 284, 286, 294, 273, 282, 293, 279, 288, 269, 274, 276, 267, 272, 297, 270, 283, 268, 265,
            264, 298, 271, 290, 291, 280, 296, 277, 281, 266, 295, 275, 263, 301, 309, 320, 336, 338, 314, 315, 333,
            337, 332, 334, 319, 313, 324, 321,
        ),
    ),
    "the CSV hides a day that JSON truncates": Scenario(
        91_000_075, 5,
        {
            "volume": 91.3, "json_limit": {"size": 10, "keeps": "oldest"},
            "csv_hides": {"share": 0.489, "nights": [0, 99]},
        },
        (
            766, 781, 788, 787, 750, 746, 795, 724, 718, 745, 870, 944, 903, 948, 952, 928, 927, 909, 910, 924,
            969, 972, 966, 958, 913, 950, 930, 911, 921, 941, 917, 942, 939, 922, 934, 949, 981, 1018, 980,
            1027, 1014, 1020, 1006, 983, 1021, 1016, 994, 1030, 986, 1001, 1000, 1023, 988, 1029, 1010, 984,
            1004, 1009, 996, 987, 992, 999, 977, 1025, 989, 1012, 1005, 985, 978, 1013, 1019, 991, 1008, 993,
            1017, 1026, 1011, 976, 1024, 997, 1015, 1022, 1028, 990, 1007, 998, 1003, 1002, 995, 979, 982, 1039,
            1074, 1145, 1069, 1053, 1066, 1081, 1118, 1114, 1143, 1063, 1035, 1130, 1119, 1112, 1086, 1144,
            1062, 1051, 1093,
        ),
    ),
}  # fmt: skip
"""Shrunk scenarios of fixed bugs, of the program or of the oracle."""


@pytest.mark.parametrize("scenario", REGRESSIONS.values(), ids=REGRESSIONS)
def test_a_scenario_of_a_fixed_bug_passes(laboratory, scenario):
    assert laboratory.run(scenario) is None


# The simulation itself.


class LosesARecord(Vendor):
    """Each answer lacks its last record."""

    def shown(self, *question) -> list[Item]:
        return super().shown(*question)[:-1]


class ListsARecordTwice(Vendor):
    def shown(self, *question) -> list[Item]:
        items = super().shown(*question)
        return items + items[-1:]


class AnswersOfAnotherAccount(Vendor):
    """Every price differs from that of the oracle."""

    def shown(self, *question) -> list[Item]:
        items = super().shown(*question)
        return [Item(item.charge, item.row._replace(price=item.row.price + 1), item.day) for item in items]


@pytest.mark.parametrize("vendor", [LosesARecord, ListsARecordTwice, AnswersOfAnotherAccount])
def test_a_wrong_answer_is_detected_and_shrunk(laboratory, vendor):
    failure = laboratory.run(
        Scenario(1, 8, {"volume": 6, "window": 3, "json_order": "shuffled", "csv_extra": True}), vendor
    )
    assert failure is not None
    smallest = shrink(laboratory, failure, vendor)
    assert smallest.kind == failure.kind
    assert (smallest.scenario.nights, set(smallest.scenario.traits)) == (1, set())
    assert len(smallest.scenario.records) <= 2


def test_a_vendor_without_freedoms_is_synced_without_an_error(laboratory):
    for seed in range(5):
        assert laboratory.run(Scenario(seed, 6)) is None


def test_a_scenario_is_serialised_as_one_line():
    scenario = draw_scenario(7, Choice(always=tuple(FREEDOMS)))
    assert Scenario.from_json(scenario.to_json()) == scenario
    assert draw_scenario(7) == draw_scenario(7, ALL)


def test_the_values_of_freedoms_are_independent():
    every = draw_scenario(11, Choice(always=tuple(FREEDOMS)))
    fewer = draw_scenario(11, Choice(always=tuple(FREEDOMS)[5:]))
    assert all(every.traits[name] == value for name, value in fewer.traits.items())
