-- Days whose totals differ from those of their records; purged records are in neither view.
select d.account, d.day, d.records, d.spend, b.records as records_of_rows, b.spend as spend_of_rows
from {{ source('billing', 'daily_spend') }} d
left join (
    select account, day, sum(repeats) as records, sum(amount) as spend
    from {{ source('billing', 'billing') }}
    group by account, day
) b on b.account = d.account and b.day = d.day
where b.account is null or b.records <> d.records or b.spend <> d.spend
