"""An imitation of the vendor's billing calls over seeded data, for trying out, for tests and for benchmarks.

It is a separate program that happens to live here: it imports nothing from the rest of `etl`, and knows of the vendor
only what the vendor's reference says. The modules: `dataset` is what the vendor has, `policies` how it decides what
nobody documents, `spelling` how it writes a record, `calls` the documented calls, `faults` what goes wrong, `answers`
how bytes leave the house, `control` the reserved path that changes all of these, `server` the door.

    with Sandbox(dataset=Dataset(seed=1, today=date(2026, 3, 10))) as sandbox:
        sandbox.policies.end_date = "exclusive"
        sandbox.faults.add("status", status=503, headers={"Retry-After": "1"}, times=2)
        ...  # point a client at sandbox.url and sandbox.token
        sandbox.dataset.revise()

Nobody outside the vendor knows the answers to these; here they are, unless a policy or a record says otherwise:

    end_date                inclusive; one in the future is accepted
    days                    cut in the wall clock of `created_at`, which is Moscow's
    rows of an answer       unlimited, the oldest first; `get_billing_record` the newest first, n from 1 to 100
    get_billing_csv         from the start date to the last record
    CSV                     `;`, English header, UTF-8 without BOM, decimal point, `Content-Type` without charset
    status                  1 delivered, 0 anything else; a pending one is 0 with "pending" and price 0
    prices                  0.2 a call (documented), 2 to 4 a text message, 0.6 a Telegram message, 0 if it failed
    a bad token             401 with the body of any other error, before anything else is looked at
    get_status              the id is the record's place, 1 being the oldest, as billing records carry none

Not imitated: the calls that start an authorisation, webhooks, TLS, compression (but as a fault), quotas and blocked
accounts (but as a fault with a status of 400 or 429), and the vendor's speed.
"""

from etl.sandbox.behaviour import Behaviour
from etl.sandbox.dataset import Dataset, Record, Revision
from etl.sandbox.faults import Fault, Faults
from etl.sandbox.server import DEFAULT_TOKEN, Sandbox

__all__ = ["DEFAULT_TOKEN", "Behaviour", "Dataset", "Fault", "Faults", "Record", "Revision", "Sandbox"]
