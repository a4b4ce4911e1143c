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


_ACCOUNT = ViewColumn("account", "text", "Label of the account, BILLING_ACCOUNT", "accounts.label")
_RECORDS = ViewColumn("records", "whole number", "Number of charges that the vendor lists, repeats included", "billing_records.repeats")  # fmt: skip
_DELIVERED = ViewColumn("delivered", "whole number", "Number of delivered charges: status 1, the only status that the vendor documents", "billing_records.status")  # fmt: skip
_FAILED = ViewColumn("failed", "whole number", "Number of charges with another status or without one", "billing_records.status")  # fmt: skip
_SPEND = ViewColumn("spend", "amount", "Total price of the charges, repeats included", "billing_records.price × repeats")  # fmt: skip
_DELIVERY_RATE = ViewColumn("delivery_rate", "ratio", "delivered / records, to four decimal places", "billing_records.status")  # fmt: skip
_COST_PER_DELIVERY = ViewColumn("cost_per_delivery", "amount", "spend / delivered, to six decimal places. Empty if nothing was delivered", "billing_records")  # fmt: skip
_DAY_STATE = ViewColumn(
    "day_state",
    "text",
    "open: not complete yet; settling: complete, and fetched again every night; closed: complete, and not fetched again; "
    "suspect: the latest answer for the day was implausible, and the stored state before it is shown",
    "synced_days, sync_state.settled_through",
)
_CURRENCY = ViewColumn(
    "currency", "text", "ISO 4217 code of the amounts. Amounts are not converted", "accounts.currency"
)
_CHANNEL = "Kind of authorisation, by the rules of BILLING_CHANNELS; unknown if no rule matches"
_OPERATOR = "Operator to which the numbering plan assigns the number. A ported number may belong to another operator"

VIEW_COLUMNS: Final[dict[str, tuple[ViewColumn, ...]]] = {
    "billing": (
        _ACCOUNT,
        ViewColumn("created_at", "time", "Time of the charge in the vendor's wall clock", "billing_records.created_at"),
        ViewColumn("created_at_utc", "time, UTC", "Time of the charge in UTC", "billing_records.created_at, utc_offset"),
        ViewColumn("day", "date", "The date of created_at", "synced_days.day"),
        ViewColumn("phone", "text", "Phone number, stored plain, masked or keyed (BILLING_PHONES)", "billing_records.phone"),
        ViewColumn("code_auth", "text", "Authorisation code. Empty if the record has none", "billing_records.code_auth"),
        ViewColumn("status", "whole number", "1 means delivered; the vendor documents no other value", "billing_records.status"),
        ViewColumn("status_info", "text", "The vendor's description of the status", "billing_records.status_info"),
        ViewColumn("price", "amount", "Price of one charge; a refund is negative", "billing_records.price"),
        ViewColumn("repeats", "whole number", "Number of identical charges that the vendor lists", "billing_records.repeats"),
        ViewColumn("amount", "amount", "price × repeats", "billing_records.price × repeats"),
        ViewColumn("delivered", "true or false", "Whether status is 1", "billing_records.status"),
        ViewColumn("operator", "text", f"{_OPERATOR}. Empty for numbers outside the plan", "numbering_ranges.operator"),
        ViewColumn("region", "text", "Region of the number by the numbering plan. Empty for numbers outside the plan", "numbering_ranges.region"),
        _DAY_STATE,
        ViewColumn("first_seen_at", "time, UTC", "Time when the charge was first stored", "billing_records.first_seen_at"),
        ViewColumn("updated_at", "time, UTC", "Time when the charge last changed", "billing_records.updated_at, first_seen_at"),
        ViewColumn("channel", "text", f"{_CHANNEL}. Empty until the record is classified", "billing_records.channel"),
    ),
    "daily_spend": (
        _ACCOUNT,
        ViewColumn("day", "date", "Day in the vendor's wall clock", "synced_days.day"),
        _RECORDS,
        _DELIVERED,
        _FAILED,
        _SPEND,
        ViewColumn("repeated_spend", "amount", "Part of spend due to charges that are listed more than once, without the first listing of each", "billing_records.price × (repeats - 1)"),
        _DAY_STATE,
        _CURRENCY,
    ),
    "monthly_spend": (
        _ACCOUNT,
        ViewColumn("month", "date", "First day of the month, in the vendor's wall clock", "billing_records.created_at"),
        _RECORDS,
        _DELIVERED,
        _FAILED,
        _SPEND,
        ViewColumn("restated", "amount", "Part of spend due to changes after the days were closed", "restatements.delta"),
        _CURRENCY,
    ),
    "delivery_by_operator": (
        _ACCOUNT,
        ViewColumn("day", "date", "Day in the vendor's wall clock", "operator_totals.day"),
        ViewColumn("operator", "text", f"{_OPERATOR}. Empty for numbers outside the plan", "numbering_ranges.operator"),
        _RECORDS,
        _DELIVERED,
        _DELIVERY_RATE,
        _SPEND,
        _COST_PER_DELIVERY,
        _CURRENCY,
    ),
    "daily_channels": (
        _ACCOUNT,
        ViewColumn("day", "date", "Day in the vendor's wall clock", "channel_totals.day"),
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
        ViewColumn("day", "date", "Day in the vendor's wall clock", "hourly_totals.day"),
        ViewColumn("hour", "whole number", "Hour of the day, 0 to 23, in the vendor's wall clock", "hourly_totals.hour"),
        _RECORDS,
        _DELIVERED,
        _FAILED,
        _SPEND,
    ),
    "restated_days": (
        _ACCOUNT,
        ViewColumn("day", "date", "Day in the vendor's wall clock", "synced_days.day"),
        ViewColumn("first_closed_at", "time, UTC", "Time when the day was first stored completely", "synced_days.first_closed_at"),
        ViewColumn("restated_at", "time, UTC", "Time of the last change after first_closed_at", "synced_days.restated_at"),
        ViewColumn("spend_before", "amount", "Spend of the day at first_closed_at", "synced_days.first_closed_spend"),
        ViewColumn("spend_after", "amount", "Current spend of the day", "synced_days.spend"),
        ViewColumn("delta", "amount", "spend_after - spend_before", "synced_days"),
    ),
    "balance_proof": (
        _ACCOUNT,
        ViewColumn("opened_at", "time, UTC", "Time of the earlier of two consecutive snapshots", "balance_snapshots.taken_at"),
        ViewColumn("closed_at", "time, UTC", "Time of the later snapshot", "balance_snapshots.taken_at"),
        ViewColumn("opening", "amount", "Balance that the vendor reported at opened_at", "balance_snapshots.balance"),
        ViewColumn("closing", "amount", "Balance that the vendor reported at closed_at", "balance_snapshots.balance"),
        ViewColumn("charged", "amount", "Increase of the recorded spend between the two snapshots", "balance_snapshots.recorded_spend"),
        ViewColumn("top_ups", "amount", "Recorded top-ups after opened_at and up to closed_at", "balance_top_ups.amount"),
        ViewColumn("carried", "amount", "Difference carried over from earlier pairs, during which days were suspect or incomplete. Empty while there are such days", "balance_snapshots, balance_top_ups"),
        ViewColumn("restated", "amount", "Part of charged due to restated days that the balance did not reflect. Empty if carried is empty", "balance_snapshots.restated_up, restated_down"),
        ViewColumn("unexplained", "amount", "closing - (opening + top_ups - charged) + carried - restated. Empty if carried is empty", "balance_snapshots, balance_top_ups"),
        ViewColumn("finding", "text", "explained; restated; unexplained credit: unexplained is positive, perhaps an unrecorded top-up; unexplained charge: it is negative; or waits for days: there are suspect or incomplete days", "unexplained"),
    ),
    "monthly_close": (
        _ACCOUNT,
        ViewColumn("month", "date", "First day of the month, in the vendor's wall clock", "synced_days.day"),
        ViewColumn("final", "true or false", "Whether every day of the month is stored and closed", "synced_days, sync_state.settled_through"),
        ViewColumn("days_missing", "whole number", "Number of days of the month that are not stored, up to the account's last stored day", "synced_days"),
        ViewColumn("days_settling", "whole number", "Number of days that are fetched again every night", "synced_days, sync_state.settled_through"),
        ViewColumn("closed_at", "time, UTC", "Time when the month was last booked. Empty, as booked is, before the first booking", "closed_months.closed_at"),
        ViewColumn("booked", "amount", "Spend of the month at closed_at", "closed_months.booked"),
        ViewColumn("spend", "amount", "Current spend of the month", "synced_days.spend"),
        ViewColumn("changed_since_close", "amount", "spend - booked", "synced_days, closed_months"),
        ViewColumn("currency", "text", "ISO 4217 code of the amounts at closed_at. Amounts are not converted", "closed_months.currency, accounts.currency"),
        ViewColumn("net", "amount", "spend without VAT. Empty, as vat and gross are, if no VAT rate is set", "synced_days.spend, vat_rate"),
        ViewColumn("vat", "amount", "gross - net, to six decimal places", "synced_days.spend, vat_rate"),
        ViewColumn("gross", "amount", "spend with VAT", "synced_days.spend, vat_rate"),
        ViewColumn("vat_rate", "percent", "VAT rate at closed_at. Empty if none was set", "closed_months.vat_basis_points, accounts.vat_basis_points"),
        ViewColumn("closed_as", "text", "final: every day was closed at closed_at; provisional: otherwise", "closed_months.kind"),
        ViewColumn("closings", "whole number", "Number of bookings of the month; closed_at and booked belong to the last one", "closed_months.closing"),
        ViewColumn("booked_net", "amount", "booked without VAT", "closed_months"),
        ViewColumn("booked_vat", "amount", "booked_gross - booked_net, to six decimal places", "closed_months"),
        ViewColumn("booked_gross", "amount", "booked with VAT", "closed_months"),
        ViewColumn("records", "whole number", "Current number of charges, repeats included", "synced_days.records"),
        ViewColumn("days_closed", "whole number", "Number of closed days", "synced_days"),
        ViewColumn("days_open", "whole number", "Number of days that were not over when they were last fetched", "synced_days.first_closed_at"),
        ViewColumn("days_suspect", "whole number", "Number of days for which the latest answer was implausible", "synced_days.suspect_since"),
        ViewColumn("days_ahead", "whole number", "Number of days after the account's last stored day", "synced_days"),
    ),
    "restatement_lines": (
        _ACCOUNT,
        ViewColumn("day", "date", "Closed day that changed, in the vendor's wall clock", "restatements.day"),
        ViewColumn("restated_at", "time, UTC", "Time when the change was stored", "restatements.restated_at"),
        ViewColumn("kind", "text", "late: a new charge; corrected: other values; withdrawn: no longer listed; returned: listed again", "restatements.kind"),
        ViewColumn("delta", "amount", "Change of the day's spend", "restatements.delta"),
        ViewColumn("run_id", "whole number", "Run that found the change: billing-etl runs ID", "restatements.run_id"),
        ViewColumn("line", "whole number", "Number of the change, ascending in time", "restatements.id"),
        ViewColumn("since_close", "true or false", "Whether the change came after the last booking of the day's month. Empty if the month was not booked", "restatements, closed_months"),
    ),
    "calendar": (
        _ACCOUNT,
        ViewColumn("day", "date", "Every day from the account's first to its last stored day, in the vendor's wall clock", "synced_days.day"),
        _DAY_STATE._replace(meaning=f"{_DAY_STATE.meaning}; missing: never stored"),
        _RECORDS._replace(meaning="Number of charges, repeats included. Empty if the day is missing"),
        _SPEND._replace(meaning="Total price of the charges, repeats included. Empty if the day is missing"),
    ),
    "focus_charges": (
        ViewColumn("BilledCost", "amount", "Spend of the day when its month was booked, or the current spend before that; for a correction, the change", "synced_days.spend, restatements.delta"),
        ViewColumn("BillingAccountId", "text", "Label of the account, BILLING_ACCOUNT", "accounts.label"),
        ViewColumn("BillingAccountName", "text", "Label of the account, BILLING_ACCOUNT", "accounts.label"),
        ViewColumn("BillingCurrency", "text", "ISO 4217 code of the amounts", "closed_months.currency, accounts.currency"),
        ViewColumn("BillingPeriodEnd", "text", "First day after the billing period, as YYYY-MM-DDT00:00:00Z", "synced_days.day, restatements.restated_at"),
        ViewColumn("BillingPeriodStart", "text", "First day of the month; for a correction, of the month in which it was found", "synced_days.day, restatements.restated_at"),
        ViewColumn("ChargeCategory", "text", "Usage", "constant"),
        ViewColumn("ChargeClass", "text", "Correction: a change after the day's month was booked as final. Otherwise empty", "restatements, closed_months"),
        ViewColumn("ChargeDescription", "text", "Description of the row", "constant"),
        ViewColumn("ChargeFrequency", "text", "Usage-Based", "constant"),
        ViewColumn("ChargePeriodEnd", "text", "Day after ChargePeriodStart, as YYYY-MM-DDT00:00:00Z", "synced_days.day"),
        ViewColumn("ChargePeriodStart", "text", "Day in the vendor's wall clock, written as if it were UTC, so that the cost stays with its day", "synced_days.day"),
        ViewColumn("ConsumedQuantity", "quantity", "Number of charges of the day, repeats included. Empty for a correction", "synced_days.records"),
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
        ViewColumn("last_synced_date", "date", "Watermark: last day of the unbroken sequence of complete days", "sync_state.last_synced_date"),
        ViewColumn("last_success_at", "time, UTC", "Time when a run last stored all requested days", "sync_state.last_success_at"),
        ViewColumn("hours_behind", "hours", "Hours since the end of last_synced_date, to one decimal place. Empty if the account is retired", "sync_state.synced_until_utc"),
        ViewColumn("open_days", "whole number", "Number of stored days that are not complete", "synced_days.first_closed_at"),
        ViewColumn("suspect_days", "whole number", "Number of days for which the latest answer was implausible", "synced_days.suspect_since"),
        ViewColumn("retired_at", "time, UTC", "Time when the account was retired. Empty while it is in use", "accounts.retired_at"),
        _CURRENCY,
        ViewColumn("vat_rate", "percent", "VAT rate. Empty if none is set", "accounts.vat_basis_points"),
        ViewColumn("vat", "text", "Whether the prices are with VAT (included) or without it (excluded)", "accounts.vat"),
    ),
}  # fmt: skip
"""Columns by view, in the order of the view."""
