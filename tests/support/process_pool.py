"""Eight processes that run the same job at the same moment, again and again."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager

from etl.cli.exit_codes import code_for_result
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from support.run_helpers import SILENT
from support.sync_account import MORNING

SIZE = 8
PATIENCE = 120
"""Seconds after which a hanging crew is a failure; nothing waits for it otherwise."""


@contextmanager
def no_lock(_engine, _name, *, wait):
    """What a run holds where the fence must do alone."""
    yield


def work(pipe, together):
    """Run what comes through the pipe, at the same moment as all others."""
    while (order := pipe.recv()) is not None:
        settings, options = order
        together.wait(PATIENCE)
        try:
            report = run_sync(
                settings,
                RunRequest("sync"),
                SILENT,
                redact=str,
                exit_code_of=code_for_result,
                clock=lambda: MORNING,
                **options,
            )
            pipe.send((code_for_result(report), str(report.error or "")))
        except BaseException as error:  # noqa: BLE001 - a bug of the program, told by the test
            pipe.send((70, repr(error)))


class Crew:
    """The processes; each imports the program once."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.together = context.Barrier(SIZE)  # it goes when nobody here holds it
        self.members = []
        for _ in range(SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, self.together), daemon=True)
            process.start()
            theirs.close()
            self.members.append((process, ours))

    def run(self, *all_settings, **options):
        """Eight runs at once, of one account or in turn of several. Returns their exit codes and lines."""
        for number, (_, pipe) in enumerate(self.members):
            pipe.send((all_settings[number % len(all_settings)], options))
        results = []
        for _, pipe in self.members:
            assert pipe.poll(PATIENCE), "a run hangs"
            results.append(pipe.recv())
        return results

    def close(self):
        for process, pipe in self.members:
            process.kill()
            process.join()
            pipe.close()
            process.close()
