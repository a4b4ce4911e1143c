"""Parses the rules of BILLING_CHANNELS: a list of tables in the TOML file, the same as JSON in a variable."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, TypeGuard

from etl.channels import UNKNOWN, ChannelRule
from etl.suggestions import similar_names

MAX_NAME_LENGTH: Final = 64
MAX_PATTERN_LENGTH: Final = 200
MAX_RULES: Final = 200
_MAX_PRICE: Final = 10**12
_CONDITIONS: Final = ("status_info", "price", "min_price", "max_price", "code")


def parse_rules(text: str) -> tuple[ChannelRule, ...]:
    """The rules of a JSON list of objects; a `price` is both the lowest and the highest one.

    Raises:
        ValueError: The description names the first invalid rule by its position and channel.
    """
    try:
        rules = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        rules = None
    if not isinstance(rules, list) or not rules or len(rules) > MAX_RULES:
        raise ValueError(f"a list of 1 to {MAX_RULES} rules, in TOML [[channels]], or the same as JSON")
    return tuple(_parse_rule(position, rule) for position, rule in enumerate(rules, start=1))


def _parse_rule(position: int, rule: Any) -> ChannelRule:
    if not isinstance(rule, dict):
        raise ValueError(f'a list of rules, and rule {position} is not a table like {{channel = "sms"}}')
    name = rule.get("channel")
    if not _is_text(name, MAX_NAME_LENGTH) or name == UNKNOWN:
        raise ValueError(
            f"a list of rules, and rule {position} has no valid channel: a name of at most {MAX_NAME_LENGTH} printable "
            f"characters, without blanks around it, other than {UNKNOWN}"
        )
    known = ("channel", *_CONDITIONS)
    for key in rule:
        if key not in known:
            similar = similar_names(key, known, similarity=0.0)
            raise _invalid(position, name, f"has a key that is none of {', '.join(known)}; did you mean {similar[0]}?")
    if not rule.keys() & set(_CONDITIONS):
        raise _invalid(position, name, f"has no condition; give it one of {', '.join(_CONDITIONS)}")
    pattern, code = rule.get("status_info"), rule.get("code")
    if pattern is not None and not _is_text(pattern, MAX_PATTERN_LENGTH):
        raise _invalid(
            position, name, f'needs for status_info a text of 1 to {MAX_PATTERN_LENGTH} characters, like "*sms*"'
        )
    if code is not None and not isinstance(code, bool):
        raise _invalid(position, name, "needs for code true (there is one) or false")
    if "price" in rule and rule.keys() & {"min_price", "max_price"}:
        raise _invalid(position, name, "has price and a range of prices; leave one of them out")
    exact = _price(position, name, rule, "price")
    low = exact if "price" in rule else _price(position, name, rule, "min_price")
    high = exact if "price" in rule else _price(position, name, rule, "max_price")
    if low is not None and high is not None and low > high:
        raise _invalid(position, name, "has a min_price above its max_price; exchange them")
    return ChannelRule(name, pattern, low, high, code)


def _price(position: int, name: str, rule: dict[str, Any], key: str) -> Decimal | None:
    value = rule.get(key)
    if value is None:
        return None
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) >= _MAX_PRICE:
        raise _invalid(position, name, f"needs for {key} a number without quotes, like 0.2")
    return value


def _is_text(value: Any, longest: int) -> TypeGuard[str]:
    return isinstance(value, str) and value.isprintable() and value == value.strip() and 0 < len(value) <= longest


def _invalid(position: int, name: str, problem: str) -> ValueError:
    return ValueError(f"a list of rules, and rule {position} ({name}) {problem}")
