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

from etl.model import Feed, Record, Rejected, StoredForm, Survey, Window, new_record
from etl.pii import HIDDEN, CoverField, cover_payload, hide_phones, mask_phone
from etl.transform.fields import FieldError, normalise_phone
from etl.transform.folds import merge_folds

KEEP_PHONES: Final = 1 << 16
"""Phones whose keyed form is remembered: a person is called more than once."""
KEEP_TEXTS: Final = 1 << 10

ReadFeed = Callable[[Feed, Window, Callable[[list[Record]], Any]], Survey]


def key_id(key: bytes) -> str:
    """Tells one key from another, and nothing about either."""
    return hmac.digest(key, b"billing-etl: the id of this key", "sha256").hex()[:8]


class Protection:
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
        self.form = StoredForm(phones, key_id(key) if phones == "keyed" else "", codes)
        self.phone: Callable[[str], str] = str
        if phones == "masked":
            self.phone = mask_phone
        elif phones == "keyed":
            self.phone = lru_cache(KEEP_PHONES)(partial(_keyed, key, f"hmac-{self.form.key_id}-"))
        self._hide: Callable[[str], str] = str
        if phones != "plain":
            self._hide = lru_cache(KEEP_TEXTS)(hide_phones)
        self._fields: dict[str, CoverField] = {}
        if phones != "plain":
            self._fields["phone"] = self._raw_phone
        if codes == "drop":
            self._fields["code_auth"] = _nothing

    def wrap(self, read_feed: ReadFeed) -> ReadFeed:
        """The reading of a feed, with this as its last step."""
        if self.form == StoredForm():
            return read_feed
        phone, hide, drops = self.phone, self._hide, self.form.codes == "drop"

        def read(feed: Feed, window: Window, keep: Callable[[list[Record]], Any]) -> Survey:
            def protect(records: Iterable[Record]) -> list[Record]:
                return [
                    new_record((time, phone(number), "" if drops else code, status, hide(info), price))
                    for time, number, code, status, info, price in records
                ]

            survey = read_feed(feed, window, lambda records: keep(protect(records)))
            return replace(
                survey,
                rejected=tuple(map(self._protect_rejected, survey.rejected)),
                folds=merge_folds(zip(protect(survey.folds), survey.folds.values(), strict=True)),
            )

        return read

    def cover(self, payload: str) -> str:
        """The JSON text of a bad record, its phone and code in the stored form."""
        return cover_payload(payload, self._fields, self._hide)

    def _protect_rejected(self, item: Rejected) -> Rejected:
        time, phone, code = item.key
        return replace(
            item,
            payload=self.cover(item.payload),
            key=(time, None if phone is None else self.phone(phone), "" if self.form.codes == "drop" else code),
        )

    def _raw_phone(self, raw: Any) -> str:
        try:
            return self.phone(normalise_phone(raw))
        except FieldError:
            return HIDDEN


def _keyed(key: bytes, prefix: str, phone: str) -> str:
    return prefix + hmac.digest(key, phone.encode(), "sha256").hex() if phone else ""


def _nothing(_raw: Any) -> str:
    return ""
