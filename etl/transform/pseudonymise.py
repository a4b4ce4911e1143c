"""The last step of the transform: phones and codes in the form in which the account stores them.

Identity, digest and ordinals are made of that form, so all that comes after works the same in each. In plain form the
step is not there at all.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final

from etl.model import DateRange, Feed, FeedReader, PrivacyFormat, ReadStats, Record, RejectedRecord, record_from_tuple
from etl.pii import MASK, FieldRedactor, mask_phone, redact_payload, redact_phones
from etl.transform.fields import FieldError, parse_phone
from etl.transform.folds import merge_folds

KEEP_PHONES: Final = 1 << 16
"""Phones whose keyed form is remembered: a person is called more than once."""
KEEP_TEXTS: Final = 1 << 10


def key_fingerprint(key: bytes) -> str:
    """Tells one key from another, and nothing about either."""
    return hmac.digest(key, b"billing-etl: the id of this key", "sha256").hex()[:8]


class PhonePolicy:
    """How an account's phones and codes are stored.

    Args:
        phones: `plain`, `masked` or `keyed`.
        codes: `keep` or `drop`.
        key: For keyed phones.

    Attributes:
        form: What the account remembers of it.
        phone: The stored form of a canonical phone; no phone stays no phone.
    """

    def __init__(self, phones: str = "plain", codes: str = "keep", key: bytes = b"") -> None:
        self.form = PrivacyFormat(phones, key_fingerprint(key) if phones == "keyed" else "", codes)
        self.phone: Callable[[str], str] = str
        if phones == "masked":
            self.phone = mask_phone
        elif phones == "keyed":
            self.phone = lru_cache(KEEP_PHONES)(partial(_hmac_phone, key, f"hmac-{self.form.key_id}-"))
        self._hide: Callable[[str], str] = str
        if phones != "plain":
            self._hide = lru_cache(KEEP_TEXTS)(redact_phones)
        self._fields: dict[str, FieldRedactor] = {}
        if phones != "plain":
            self._fields["phone"] = self._raw_phone
        if codes == "drop":
            self._fields["code_auth"] = _empty

    def wrap_reader(self, read_feed: FeedReader) -> FeedReader:
        """The reading of a feed, with this as its last step."""
        if self.form == PrivacyFormat():
            return read_feed
        phone, hide, drops = self.phone, self._hide, self.form.codes == "drop"

        def read(feed: Feed, window: DateRange, keep: Callable[[list[Record]], Any]) -> ReadStats:
            def protect(records: Iterable[Record]) -> list[Record]:
                return [
                    record_from_tuple((time, phone(number), "" if drops else code, status, hide(info), price))
                    for time, number, code, status, info, price in records
                ]

            survey = read_feed(feed, window, lambda records: keep(protect(records)))
            return replace(
                survey,
                rejected=tuple(map(self._protect_rejected, survey.rejected)),
                folds=merge_folds(zip(protect(survey.folds), survey.folds.values(), strict=True)),
            )

        return read

    def redact(self, payload: str) -> str:
        """The JSON text of a bad record, its phone and code in the stored form."""
        return redact_payload(payload, self._fields, self._hide)

    def _protect_rejected(self, item: RejectedRecord) -> RejectedRecord:
        time, phone, code = item.key
        return replace(
            item,
            payload=self.redact(item.payload),
            key=(time, None if phone is None else self.phone(phone), "" if self.form.codes == "drop" else code),
        )

    def _raw_phone(self, raw: Any) -> str:
        try:
            return self.phone(parse_phone(raw))
        except FieldError:
            return MASK


def _hmac_phone(key: bytes, prefix: str, phone: str) -> str:
    return prefix + hmac.digest(key, phone.encode(), "sha256").hex() if phone else ""


def _empty(_raw: Any) -> str:
    return ""
