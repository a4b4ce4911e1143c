"""An imitation of the vendor's billing API over generated data, for demos, tests and benchmarks.

It is a separate program in the same package: it imports nothing from the rest of `etl` and implements only what the
vendor's reference documents. Its modules:

    dataset     the vendor's records
    behaviour   how the vendor resolves what its reference leaves open
    formats     records as JSON and CSV
    endpoints   the documented calls
    responses   responses, and how they are sent
    faults      faults to inject into responses
    state       the data, the behaviour, the queued faults, the received requests and the clock
    admin_api   a reserved path that changes the state
    server      the HTTP server

    with Sandbox(dataset=Dataset(seed=1, today=date(2026, 3, 10))) as sandbox:
        sandbox.policies.end_date = "exclusive"
        sandbox.faults.add("status", status=503, headers={"Retry-After": "1"}, times=2)
        ...  # point a client at sandbox.url and sandbox.token
        sandbox.dataset.revise()

The vendor's reference leaves the following open. These are the defaults; a policy or a record may differ:

    end_date                inclusive; accepted when in the future
    days                    in the wall clock of `created_at`, which is Moscow time
    rows of a response      unlimited, oldest first; `get_billing_record` newest first, n from 1 to 100
    get_billing_csv         from the start date to the last record
    CSV                     `;`, English header, UTF-8 without BOM, decimal point, `Content-Type` without charset
    status                  1 delivered, 0 anything else; a pending one is 0 with "pending" and price 0
    prices                  0.2 a call (documented), 2 to 4 a text message, 0.6 a Telegram message, 0 if it failed
    an invalid token        401 with the usual error body, before any other check
    get_status              the id is the record's position from 1, the oldest, as billing records carry no id

Not imitated: the calls that start an authorisation, webhooks, TLS, compression (except as a fault), quotas and blocked
accounts (except as a fault with status 400 or 429), and the vendor's speed.
"""

from etl.sandbox.behaviour import Behaviour
from etl.sandbox.dataset import Dataset, Record, Revision
from etl.sandbox.faults import Fault, Faults
from etl.sandbox.server import DEFAULT_TOKEN, Sandbox

__all__ = ["DEFAULT_TOKEN", "Behaviour", "Dataset", "Fault", "Faults", "Record", "Revision", "Sandbox"]
