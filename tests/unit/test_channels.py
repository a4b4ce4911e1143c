"""The channel of a record: order of rules, meaning of patterns, and parsing of rules."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from etl.channels import DEFAULT_RULES, UNKNOWN, ChannelRule, ChannelRules, Evidence
from etl.config.channels import parse_rules
from etl.day_totals import ChannelTotals
from etl.db.channels import Channels, group_by_kind, total_by_channel
from etl.pii import ERASED


def channel(*rules, text="", price="0.2", code=True):
    return ChannelRules(rules).classify(Evidence(text, Decimal(price), code))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("sms", "Sent by SMS gateway"),
        ("смс", "Отправлено СМС"),
        ("straße", "STRASSE"),
        ("sms*", " sms delivered "),
        ("*ok", "sms Ok"),
        ("?ms", "SMS"),
        ("*", ""),
        ("[sms]", "state [SMS]"),
        ("[sms] *", "[SMS] sent"),
        ("a.b", "xa.bx"),
        ("line*end", "line\nbreak and end"),
    ],
)
def test_a_pattern_matches_a_part_or_with_wildcards_the_whole_text(pattern, text):
    assert channel(ChannelRule("c", status_info=pattern), text=text) == "c"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("sms*", "by sms"), ("*ok", "ok sms"), ("?ms", "ms"), ("[sms]", "s"), ("a.b", "acb"), ("[a-z]*", "b")],
)
def test_a_pattern_matches_nothing_else(pattern, text):
    assert channel(ChannelRule("c", status_info=pattern), text=text) == UNKNOWN


def test_a_range_of_prices_includes_its_ends():
    rule = ChannelRule("c", min_price=Decimal("0.2"), max_price=Decimal("0.60"))
    found = {price: channel(rule, price=price) for price in ("0.199999", "0.200000", "0.6", "0.600001", "-1")}
    assert found == {"0.199999": UNKNOWN, "0.200000": "c", "0.6": "c", "0.600001": UNKNOWN, "-1": UNKNOWN}


def test_a_rule_needs_all_of_its_conditions_and_the_first_that_matches_decides():
    rules = (
        ChannelRule("both", status_info="ok", code=False),
        ChannelRule("text", status_info="ok"),
        ChannelRule("rest", code=True),
    )
    assert channel(*rules, text="ok", code=False) == "both"
    assert channel(*rules, text="ok", code=True) == "text"
    assert channel(*rules, text="no", code=True) == "rest"
    assert channel(*rules, text="no", code=False) == UNKNOWN


def test_no_channel_is_derived_for_an_erased_record():
    assert channel(ChannelRule("c", status_info="*"), code=None) == UNKNOWN


def test_rules_about_codes_do_not_apply_when_codes_are_dropped():
    dropped = DEFAULT_RULES.without_codes()
    assert dropped.classify(Evidence("", Decimal(5), False)) == UNKNOWN
    assert DEFAULT_RULES.classify(Evidence("", Decimal(5), False)) == "call back"
    assert dropped.digest != DEFAULT_RULES.digest


def test_the_digest_differs_with_each_part_of_a_rule_and_with_the_order():
    one, two = ChannelRule("a", "x"), ChannelRule("b", "x")
    sets = [
        (one,), (two,), (one, two), (two, one), (ChannelRule("a", "y"),), (ChannelRule("a", "x", Decimal(1)),),
        (ChannelRule("a", "x", None, Decimal(1)),), (ChannelRule("a", "x", code=True),),
    ]  # fmt: skip
    assert len({ChannelRules(rules).digest for rules in sets}) == len(sets)


NUMBERS = {name: number for number, name in enumerate(DEFAULT_RULES.names(), start=1)}


def test_new_rows_are_totalled_by_channel_with_their_repeats():
    columns = (
        ("2026-03-09 10:00:00",) * 5,
        ("+79240000001",) * 4 + (ERASED,),
        ("0371", "0371", "", "0371", ""),
        (1, None, 1, 1, 1),
        ("sms", "sms", "ok", "no", ""),
        (Decimal(3), Decimal("0.5"), Decimal("0.2"), Decimal(9), Decimal(1)),
    )
    repeats = (1, 2, 3, 1, 1)
    kind_of, kinds = group_by_kind(columns)
    channels = Channels(DEFAULT_RULES, NUMBERS)
    channel_of = [channels.number_of(Evidence(*kind[:3])) for kind in kinds]
    names = dict(map(reversed, NUMBERS.items()))
    assert [names[channel_of[kind]] for kind in kind_of] == ["sms", "sms", "call back", UNKNOWN, UNKNOWN]
    assert total_by_channel(kind_of, kinds, channel_of, repeats) == sorted([
        ChannelTotals(NUMBERS["sms"], 3, 1, Decimal(4)),
        ChannelTotals(NUMBERS["call back"], 3, 3, Decimal("0.6")),
        ChannelTotals(NUMBERS[UNKNOWN], 2, 2, Decimal(10)),
    ])  # fmt: skip


def test_rules_are_read_from_a_list():
    text = json.dumps(
        [
            {"channel": "sms", "status_info": "*sms*", "min_price": 1, "max_price": 4.5},
            {"channel": "flash call", "price": 0.2, "code": True},
        ]
    )
    assert parse_rules(text) == (
        ChannelRule("sms", "*sms*", Decimal(1), Decimal("4.5")),
        ChannelRule("flash call", None, Decimal("0.2"), Decimal("0.2"), code=True),
    )


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("sms", "a list of 1 to 200 rules, in TOML [[channels]]"),
        ([], "a list of 1 to 200 rules"),
        ({"channel": "sms", "code": True}, "a list of 1 to 200 rules"),
        (["sms"], "rule 1 is not a table"),
        ([{"status_info": "sms"}], "rule 1 has no valid channel"),
        ([{"channel": UNKNOWN, "code": True}], "rule 1 has no valid channel"),
        ([{"channel": "x" * 65, "code": True}], "rule 1 has no valid channel"),
        ([{"channel": "sms", "code": True}, {"channel": "call"}], "rule 2 (call) has no condition"),
        ([{"channel": "sms", "prize": 1}], "rule 1 (sms) has a key that is none of"),
        ([{"channel": "sms", "prize": 1}], "did you mean price?"),
        ([{"channel": "sms", "status_info": 5}], "rule 1 (sms) needs for status_info a text"),
        ([{"channel": "sms", "status_info": ""}], "rule 1 (sms) needs for status_info a text"),
        ([{"channel": "sms", "price": "0.2"}], "rule 1 (sms) needs for price a number without quotes"),
        ([{"channel": "sms", "price": float("nan")}], "rule 1 (sms) needs for price a number"),
        ([{"channel": "sms", "min_price": 10**13}], "rule 1 (sms) needs for min_price a number"),
        ([{"channel": "sms", "code": "yes"}], "rule 1 (sms) needs for code true"),
        ([{"channel": "sms", "price": 1, "max_price": 2}], "rule 1 (sms) has price and a range of prices"),
        ([{"channel": "sms", "min_price": 2, "max_price": 1}], "rule 1 (sms) has a min_price above its max_price"),
    ],
)
def test_an_invalid_rule_is_named_with_the_remedy(rules, problem):
    with pytest.raises(ValueError, match="a list of") as raised:
        parse_rules(json.dumps(rules))
    assert problem in str(raised.value)
