"""The view focus_charges: cost by account and day in the columns of the FinOps specification FOCUS 1.2.

Source: FinOps Open Cost and Usage Specification 1.2, specification/columns. Columns of features that the vendor does
not have (commitments, resources, regions, price lists) are left out, as the specification provides.
"""

from __future__ import annotations

from typing import Final

from etl.db.dialects.expressions import SqlExpressions
from etl.db.month_views import SINCE_CLOSE, join_closing
from etl.db.view_parts import amount_column_names, amount_columns, join_account

PROVIDER: Final = "Telefon-IP"
UNIT: Final = "Requests"
"""Unit of a charge, from the specification's list of units."""


def _corrections(sql: SqlExpressions, *, by_period: bool) -> str:
    """A subquery of the changes of days of booked months: by day, or by day and the month in which they were found."""
    key = "l.account_id, l.day, l.period" if by_period else "l.account_id, l.day"
    month, found = sql.month_of.format("j.day"), sql.month_of.format("j.restated_at")
    names = amount_column_names(sql, "l.delta")
    return f"""(
  SELECT {key}, {amount_columns("SUM({part}) AS delta_{}", names)}
  FROM (
    SELECT j.account_id, j.day,
      CASE WHEN {found} > {month} THEN {found} ELSE {sql.next_month.format(month)} END AS period,
      {amount_columns("{part} AS delta_{}", sql.split_amount("j.delta"))}
    FROM restatements j
    {join_closing("j", month)}
    WHERE c.kind = 'final' AND {SINCE_CLOSE}
    UNION ALL
    SELECT p.account_id, p.day, p.period, {amount_columns("{part}", sql.split_amount("p.delta"))}
    FROM purged_corrections p
    {join_closing("p", sql.month_of.format("p.day"))}
    WHERE c.closing = p.closing
  ) l
  GROUP BY {key}
)"""


def focus_charges_query(sql: SqlExpressions) -> str:
    """A row per day with the cost as it was booked, and one per month in which it was corrected afterwards.

    What changes before the month of a day is booked belongs to the cost; what changes later is a correction, in the
    billing period in which it was found: a later one, also where the month has not ended in UTC yet.
    """
    spend, delta = sql.split_amount("d.spend"), amount_column_names(sql, "x.delta")
    booked = tuple(f"({part} - COALESCE({change}, 0))" for part, change in zip(spend, delta, strict=True))
    cost = sql.join_amount(*amount_column_names(sql, "f.cost"))
    quantity = sql.cast_amount("f.quantity")
    unit = f"CASE WHEN f.quantity IS NOT NULL THEN '{UNIT}' END"
    columns = {
        "BilledCost": cost,
        "BillingAccountId": "a.label",
        "BillingAccountName": "a.label",
        "BillingCurrency": "CASE WHEN c.closing IS NULL THEN a.currency ELSE c.currency END",
        "BillingPeriodEnd": sql.utc_text.format(sql.next_month.format("f.period")),
        "BillingPeriodStart": sql.utc_text.format("f.period"),
        "ChargeCategory": "'Usage'",
        "ChargeClass": "f.charge_class",
        "ChargeDescription": "CASE WHEN f.charge_class IS NULL THEN 'Authorisations by phone' "
        "ELSE 'Changes of authorisations by phone after their month was booked' END",
        "ChargeFrequency": "'Usage-Based'",
        "ChargePeriodEnd": sql.utc_text.format(sql.next_day.format("f.day")),
        "ChargePeriodStart": sql.utc_text.format("f.day"),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": f"'{PROVIDER}'",
        "ListCost": cost,
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ProviderName": f"'{PROVIDER}'",
        "PublisherName": f"'{PROVIDER}'",
        "ServiceCategory": "'Identity'",
        "ServiceName": "'Authorisation by phone'",
        "ServiceSubcategory": "'Other (Identity)'",
    }
    selected = ",\n  ".join(f"{expression} AS {sql.name(column)}" for column, expression in columns.items())
    return f"""SELECT {selected}
FROM (
  SELECT d.account_id, d.day, {sql.month_of.format("d.day")} AS period, NULL AS charge_class, d.records AS quantity,
    {amount_columns("{part} AS cost_{}", booked)}
  FROM synced_days d
  LEFT JOIN {_corrections(sql, by_period=False)} x ON x.account_id = d.account_id AND x.day = d.day
  WHERE d.records > 0 OR x.day IS NOT NULL
  UNION ALL
  SELECT y.account_id, y.day, y.period, 'Correction', NULL, {", ".join(amount_column_names(sql, "y.delta"))}
  FROM {_corrections(sql, by_period=True)} y
) f
{join_account("f")}
{join_closing("f", sql.month_of.format("f.day"))}"""
