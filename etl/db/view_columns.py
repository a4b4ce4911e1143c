"""Descriptions of the view columns, for comments in the database and for docs/dictionary.md."""

from __future__ import annotations

from typing import Final, NamedTuple


class ViewColumn(NamedTuple):
    """Description of a view column.

    Attributes:
        name: Name of the column.
        kind: Type of the values: `text`, `whole number`, `amount`, `ratio`, `percent`, `quantity`, `hours`, `date`, `time`, `time, UTC` or `true or false`.
        meaning: Meaning of the values, for readers of the view.
        source: Table columns that it is computed from.
    """

    name: str
    kind: str
    meaning: str
    source: str


_ACCOUNT = ViewColumn("account", "text", "The account's label, BILLING_ACCOUNT", "accounts.label")
_RECORDS = ViewColumn("records", "whole number", "Charges as the vendor lists them, repeats included", "billing_records.repeats")  # fmt: skip
_DELIVERED = ViewColumn("delivered", "whole number", "Those of status 1, the only one the vendor documents", "billing_records.status")  # fmt: skip
_FAILED = ViewColumn("failed", "whole number", "Those of any other status, or of none", "billing_records.status")
_SPEND = ViewColumn("spend", "amount", "What they cost together, repeats included", "billing_records.price × repeats")
_DELIVERY_RATE = ViewColumn("delivery_rate", "ratio", "delivered / records, four decimal places", "billing_records.status")  # fmt: skip
_COST_PER_DELIVERY = ViewColumn("cost_per_delivery", "amount", "spend / delivered, six decimal places. Empty where nothing was delivered", "billing_records")  # fmt: skip
_DAY_STATE = ViewColumn(
    "day_state",
    "text",
    "open: not over yet; settling: still fetched again every night; closed; suspect: the vendor's latest answer was "
    "implausible and the last good state is shown",
    "synced_days, sync_state.settled_through",
)
_CURRENCY = ViewColumn("currency", "text", "ISO 4217; a label, nothing is converted", "accounts.currency")
_CHANNEL = "What kind of authorisation it was, by the rules of BILLING_CHANNELS; unknown where none matches"
_OPERATOR = "the operator the number's range was given to. Numbers are ported: the subscriber's own may be another"

VIEW_COLUMNS: Final[dict[str, tuple[ViewColumn, ...]]] = {
    "billing": (
        _ACCOUNT,
        ViewColumn("created_at", "time", "In the vendor's wall clock", "billing_records.created_at"),
        ViewColumn("created_at_utc", "time, UTC", "The same moment", "billing_records.created_at, utc_offset"),
        ViewColumn("day", "date", "The date of created_at", "synced_days.day"),
        ViewColumn("phone", "text", "In the account's form: plain, masked or keyed", "billing_records.phone"),
        ViewColumn("code_auth", "text", "Empty where there is no code", "billing_records.code_auth"),
        ViewColumn("status", "whole number", "1 is delivered; nothing else is documented", "billing_records.status"),
        ViewColumn("status_info", "text", "The vendor's own words", "billing_records.status_info"),
        ViewColumn("price", "amount", "Of one charge; negative is a refund", "billing_records.price"),
        ViewColumn("repeats", "whole number", "How often the vendor lists this very charge", "billing_records.repeats"),
        ViewColumn("amount", "amount", "price × repeats", "billing_records.price × repeats"),
        ViewColumn("delivered", "true or false", "Whether status is 1", "billing_records.status"),
        ViewColumn("operator", "text", f"By the numbering plan, {_OPERATOR}. Empty where the plan does not tell", "numbering_ranges.operator"),
        ViewColumn("region", "text", "The region of the number's range. Empty where the plan does not tell", "numbering_ranges.region"),
        _DAY_STATE,
        ViewColumn("first_seen_at", "time, UTC", "When the charge was first stored", "billing_records.first_seen_at"),
        ViewColumn("updated_at", "time, UTC", "When it last changed", "billing_records.updated_at, first_seen_at"),
        ViewColumn("channel", "text", f"{_CHANNEL}. Empty until it is classified", "billing_records.channel"),
    ),
    "daily_spend": (
        _ACCOUNT,
        ViewColumn("day", "date", "In the vendor's wall clock", "synced_days.day"),
        _RECORDS,
        _DELIVERED,
        _FAILED,
        _SPEND,
        ViewColumn("repeated_spend", "amount", "The part of spend that charges listed more than once add", "billing_records.price × (repeats - 1)"),
        _DAY_STATE,
        _CURRENCY,
    ),
    "monthly_spend": (
        _ACCOUNT,
        ViewColumn("month", "date", "The month's first day, in the vendor's wall clock", "billing_records.created_at"),
        _RECORDS,
        _DELIVERED,
        _FAILED,
        _SPEND,
        ViewColumn("restated", "amount", "What changes after its days were closed added to spend, so far", "restatements.delta"),
        _CURRENCY,
    ),
    "delivery_by_operator": (
        _ACCOUNT,
        ViewColumn("day", "date", "In the vendor's wall clock", "operator_totals.day"),
        ViewColumn("operator", "text", f"By the numbering plan, {_OPERATOR}. Empty: numbers of which the plan does not tell", "numbering_ranges.operator"),
        _RECORDS,
        _DELIVERED,
        _DELIVERY_RATE,
        _SPEND,
        _COST_PER_DELIVERY,
        _CURRENCY,
    ),
    "daily_channels": (
        _ACCOUNT,
        ViewColumn("day", "date", "In the vendor's wall clock", "channel_totals.day"),
        ViewColumn("channel", "text", _CHANNEL, "channels.name"),
        _RECORDS,
        _DELIVERED,
        _DELIVERY_RATE,
        _SPEND,
        _COST_PER_DELIVERY,
        _CURRENCY,
    ),
    "hourly_spend": (
        _ACCOUNT,
        ViewColumn("day", "date", "In the vendor's wall clock", "hourly_totals.day"),
        ViewColumn("hour", "whole number", "0 to 23, in the vendor's wall clock", "hourly_totals.hour"),
        _RECORDS,
        _DELIVERED,
        _FAILED,
        _SPEND,
    ),
    "restated_days": (
        _ACCOUNT,
        ViewColumn("day", "date", "In the vendor's wall clock", "synced_days.day"),
        ViewColumn("first_closed_at", "time, UTC", "When the day was first stored whole", "synced_days.first_closed_at"),
        ViewColumn("restated_at", "time, UTC", "When it last changed after that", "synced_days.restated_at"),
        ViewColumn("spend_before", "amount", "The day's spend when it was first stored whole", "synced_days.first_closed_spend"),
        ViewColumn("spend_after", "amount", "The day's spend now", "synced_days.spend"),
        ViewColumn("delta", "amount", "spend_after - spend_before", "synced_days"),
    ),
    "balance_proof": (
        _ACCOUNT,
        ViewColumn("opened_at", "time, UTC", "When the earlier of two consecutive snapshots was taken", "balance_snapshots.taken_at"),
        ViewColumn("closed_at", "time, UTC", "When the later one was taken", "balance_snapshots.taken_at"),
        ViewColumn("opening", "amount", "The balance at opened_at, as the vendor said it", "balance_snapshots.balance"),
        ViewColumn("closing", "amount", "The balance at closed_at, as the vendor said it", "balance_snapshots.balance"),
        ViewColumn("charged", "amount", "The growth of the spend on record between the two", "balance_snapshots.recorded_spend"),
        ViewColumn("top_ups", "amount", "Money paid in after opened_at, up to closed_at, that a person told of", "balance_top_ups.amount"),
        ViewColumn("carried", "amount", "What the pairs before it left open while days were suspect or not whole. Empty while some are", "balance_snapshots, balance_top_ups"),
        ViewColumn("restated", "amount", "The part of charged that days restated since then make, and that the balance did not follow. Empty while carried is", "balance_snapshots.restated_up, restated_down"),
        ViewColumn("unexplained", "amount", "closing - (opening + top_ups - charged) + carried - restated. Empty while carried is", "balance_snapshots, balance_top_ups"),
        ViewColumn("finding", "text", "explained, restated, unexplained credit (above zero: a top-up nobody told of?), unexplained charge (below), or waits for days (that are suspect, or over and not whole)", "unexplained"),
    ),
    "monthly_close": (
        _ACCOUNT,
        ViewColumn("month", "date", "The month's first day, in the vendor's wall clock", "synced_days.day"),
        ViewColumn("final", "true or false", "Whether every day of the month is there and closed", "synced_days, sync_state.settled_through"),
        ViewColumn("days_missing", "whole number", "Days up to the account's last stored one that are not stored, also those before its first one", "synced_days"),
        ViewColumn("days_settling", "whole number", "Days that are still fetched again every night", "synced_days, sync_state.settled_through"),
        ViewColumn("closed_at", "time, UTC", "When the month was last booked. This and booked are empty until then", "closed_months.closed_at"),
        ViewColumn("booked", "amount", "What the month amounted to at closed_at", "closed_months.booked"),
        ViewColumn("spend", "amount", "What it amounts to now", "synced_days.spend"),
        ViewColumn("changed_since_close", "amount", "spend - booked", "synced_days, closed_months"),
        ViewColumn("currency", "text", "ISO 4217, as it was at closed_at; a label, nothing is converted", "closed_months.currency, accounts.currency"),
        ViewColumn("net", "amount", "The part of spend without VAT. Net, VAT and gross are empty where no rate is set", "synced_days.spend, vat_rate"),
        ViewColumn("vat", "amount", "gross - net, six decimal places", "synced_days.spend, vat_rate"),
        ViewColumn("gross", "amount", "spend with VAT", "synced_days.spend, vat_rate"),
        ViewColumn("vat_rate", "percent", "As it was at closed_at. Empty where none was set", "closed_months.vat_basis_points, accounts.vat_basis_points"),
        ViewColumn("closed_as", "text", "final: every day was closed at closed_at; or provisional", "closed_months.kind"),
        ViewColumn("closings", "whole number", "How often the month was booked; closed_at and booked are of the last time", "closed_months.closing"),
        ViewColumn("booked_net", "amount", "The part of booked without VAT", "closed_months"),
        ViewColumn("booked_vat", "amount", "booked_gross - booked_net, six decimal places", "closed_months"),
        ViewColumn("booked_gross", "amount", "booked with VAT", "closed_months"),
        ViewColumn("records", "whole number", "Charges as the vendor lists them now, repeats included", "synced_days.records"),
        ViewColumn("days_closed", "whole number", "Days that are closed", "synced_days"),
        ViewColumn("days_open", "whole number", "Days that were not over when they were last fetched", "synced_days.first_closed_at"),
        ViewColumn("days_suspect", "whole number", "Days whose latest answer was implausible", "synced_days.suspect_since"),
        ViewColumn("days_ahead", "whole number", "Days after the account's last stored one", "synced_days"),
    ),
    "restatement_lines": (
        _ACCOUNT,
        ViewColumn("day", "date", "The closed day that changed, in the vendor's wall clock", "restatements.day"),
        ViewColumn("restated_at", "time, UTC", "When the change was stored", "restatements.restated_at"),
        ViewColumn("kind", "text", "late, corrected, withdrawn or returned", "restatements.kind"),
        ViewColumn("delta", "amount", "What it changed in the day's spend", "restatements.delta"),
        ViewColumn("run_id", "whole number", "The run that met it: billing-etl runs ID", "restatements.run_id"),
        ViewColumn("line", "whole number", "Ascending in the order of the changes", "restatements.id"),
        ViewColumn("since_close", "true or false", "Whether it came after the month of the day was last booked. Empty where it was not", "restatements, closed_months"),
    ),
    "calendar": (
        _ACCOUNT,
        ViewColumn("day", "date", "Each day from the account's first to its last stored one, in the vendor's wall clock", "synced_days.day"),
        _DAY_STATE._replace(meaning=f"{_DAY_STATE.meaning}; missing: never stored"),
        _RECORDS._replace(meaning="Charges as the vendor lists them, repeats included; 0 on a day without one. Empty where the day is missing"),
        _SPEND._replace(meaning="What they cost together, repeats included. Empty where the day is missing"),
    ),
    "focus_charges": (
        ViewColumn("BilledCost", "amount", "The day's spend as its month was booked, or as it is while it is not; of a correction, what it changed", "synced_days.spend, restatements.delta"),
        ViewColumn("BillingAccountId", "text", "The account's label, BILLING_ACCOUNT", "accounts.label"),
        ViewColumn("BillingAccountName", "text", "The same", "accounts.label"),
        ViewColumn("BillingCurrency", "text", "ISO 4217", "closed_months.currency, accounts.currency"),
        ViewColumn("BillingPeriodEnd", "text", "The first day after the month, as YYYY-MM-DDT00:00:00Z", "synced_days.day, restatements.restated_at"),
        ViewColumn("BillingPeriodStart", "text", "The first day of the month; of a correction, that in which it was met", "synced_days.day, restatements.restated_at"),
        ViewColumn("ChargeCategory", "text", "Usage", "constant"),
        ViewColumn("ChargeClass", "text", "Correction: a change after the month of the day was booked as final. Else empty", "restatements, closed_months"),
        ViewColumn("ChargeDescription", "text", "What the row is, in words", "constant"),
        ViewColumn("ChargeFrequency", "text", "Usage-Based", "constant"),
        ViewColumn("ChargePeriodEnd", "text", "The day after it, as YYYY-MM-DDT00:00:00Z", "synced_days.day"),
        ViewColumn("ChargePeriodStart", "text", "The day in the vendor's wall clock, written as if it were UTC, so that cost stays with its day", "synced_days.day"),
        ViewColumn("ConsumedQuantity", "quantity", "Charges of the day, repeats included. Empty of a correction", "synced_days.records"),
        ViewColumn("ConsumedUnit", "text", "Requests", "constant"),
        ViewColumn("ContractedCost", "amount", "BilledCost: there are no discounts", "BilledCost"),
        ViewColumn("EffectiveCost", "amount", "BilledCost: nothing is paid upfront for a term", "BilledCost"),
        ViewColumn("InvoiceIssuerName", "text", "Telefon-IP", "constant"),
        ViewColumn("ListCost", "amount", "BilledCost: there is no price list", "BilledCost"),
        ViewColumn("PricingQuantity", "quantity", "ConsumedQuantity", "synced_days.records"),
        ViewColumn("PricingUnit", "text", "Requests", "constant"),
        ViewColumn("ProviderName", "text", "Telefon-IP", "constant"),
        ViewColumn("PublisherName", "text", "Telefon-IP", "constant"),
        ViewColumn("ServiceCategory", "text", "Identity", "constant"),
        ViewColumn("ServiceName", "text", "Authorisation by phone", "constant"),
        ViewColumn("ServiceSubcategory", "text", "Other (Identity)", "constant"),
    ),
    "freshness": (
        _ACCOUNT,
        ViewColumn("last_synced_date", "date", "The last day of the unbroken run of complete days", "sync_state.last_synced_date"),
        ViewColumn("last_success_at", "time, UTC", "When a run last stored all it was asked for", "sync_state.last_success_at"),
        ViewColumn("hours_behind", "hours", "Since the end of last_synced_date, one decimal place. Empty where the account is retired", "sync_state.synced_until_utc"),
        ViewColumn("open_days", "whole number", "Days stored that were not over then", "synced_days.first_closed_at"),
        ViewColumn("suspect_days", "whole number", "Days whose latest answer was implausible", "synced_days.suspect_since"),
        ViewColumn("retired_at", "time, UTC", "When the account was retired. Empty while it is in use", "accounts.retired_at"),
        _CURRENCY,
        ViewColumn("vat_rate", "percent", "Empty where none is set", "accounts.vat_basis_points"),
        ViewColumn("vat", "text", "included in the prices, or excluded: it comes on top", "accounts.vat"),
    ),
}  # fmt: skip
"""Columns by view, in the order of the view."""
