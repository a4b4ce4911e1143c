-- Days that an account has more than once.
select account, day
from {{ source('billing', 'daily_spend') }}
group by account, day
having count(*) > 1
