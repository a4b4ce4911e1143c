"""Records by day, out of memory."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal

from etl.extract.spill import Spill
from etl.model import Record, Window

NINTH = date(2026, 3, 9)
RECORD = Record("2026-03-09 10:00:00", "+79243555100", "0371", 1, "ok", Decimal("0.200000"))


def test_it_is_not_closed_while_another_thread_reads_it():
    spill = Spill()
    spill.add([RECORD])
    closing = threading.Thread(target=spill.close)
    waited = []

    def close_meanwhile():
        if not waited:
            closing.start()
            closing.join(0.1)
            waited.append(closing.is_alive())

    spill._database.set_progress_handler(close_meanwhile, 1)
    assert spill.days(Window(NINTH, NINTH)) == {NINTH: [RECORD]}
    closing.join()
    assert waited == [True]
