-- A warning: the balance fell by more than the charges on record explain.
{{ config(severity = 'warn') }}
select account, opened_at, closed_at, unexplained
from {{ source('billing', 'balance_proof') }}
where finding = 'unexplained charge'
