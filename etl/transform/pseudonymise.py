"""Pseudonymise phones and codes: the last step of the transform.

Identity, digest and ordinals are computed from the stored format, so later stages are the same for every format. For
plain phones and codes the step is left out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final

from etl.date_ranges import DateRange
from etl.model import Feed, FeedReader, PrivacyFormat, ReadStats, Record, RejectedRecord, record_from_tuple
from etl.pii import MASK, FieldRedactor, mask_phone, redact_payload, redact_phones
from etl.transform.fields import FieldError, parse_phone
from etl.zones import merge_folds

PHONE_CACHE_SIZE: Final = 1 << 16
"""Cached keyed phones: most phones occur more than once."""
TEXT_CACHE_SIZE: Final = 1 << 10
"""Cached redacted texts."""


def key_fingerprint(key: bytes) -> str:
    """A fingerprint of eight hexadecimal digits that distinguishes keys without revealing them."""
    return hmac.digest(key, b"billing-etl: the id of this key", "sha256").hex()[:8]


class PhonePolicy:
    """How an account's phones and codes are stored.

    Args:
        phones: `plain`, `masked` or `keyed`.
        codes: `keep` or `drop`.
        key: The key of keyed phones.

    Attributes:
        form: The format as recorded with the account.
        phone: Converts a canonical phone to its stored form; an empty phone stays empty.
    """

    def __init__(self, phones: str = "plain", codes: str = "keep", key: bytes = b"") -> None:
        self.form = PrivacyFormat(phones, key_fingerprint(key) if phones == "keyed" else "", codes)
        self.phone: Callable[[str], str] = str
        if phones == "masked":
            self.phone = mask_phone
        elif phones == "keyed":
            self.phone = lru_cache(PHONE_CACHE_SIZE)(partial(_hmac_phone, key, f"hmac-{self.form.key_id}-"))
        self._redact_text: Callable[[str], str] = str
        if phones != "plain":
            self._redact_text = lru_cache(TEXT_CACHE_SIZE)(redact_phones)
        self._fields: dict[str, FieldRedactor] = {}
        if phones != "plain":
            self._fields["phone"] = self._raw_phone
        if codes == "drop":
            self._fields["code_auth"] = _empty

    def wrap_reader(self, read_feed: FeedReader) -> FeedReader:
        """Wrap a reader: phones and codes are converted to their stored form."""
        if self.form == PrivacyFormat():
            return read_feed
        to_stored, redact, no_codes = self.phone, self._redact_text, self.form.codes == "drop"

        def read(feed: Feed, window: DateRange, sink: Callable[[list[Record]], Any]) -> ReadStats:
            def convert(records: Iterable[Record]) -> list[Record]:
                return [
                    record_from_tuple((time, to_stored(phone), "" if no_codes else code, status, redact(info), price))
                    for time, phone, code, status, info, price in records
                ]

            stats = read_feed(feed, window, lambda records: sink(convert(records)))
            return replace(
                stats,
                rejected=tuple(map(self._convert_rejected, stats.rejected)),
                folds=merge_folds(zip(convert(stats.folds), stats.folds.values(), strict=True)),
            )

        return read

    def redact(self, payload: str) -> str:
        """Convert phone and code in the JSON text of a rejected record to their stored form."""
        return redact_payload(payload, self._fields, self._redact_text)

    def _convert_rejected(self, item: RejectedRecord) -> RejectedRecord:
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
