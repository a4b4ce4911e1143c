"""Eight processes that start the same run at the same time."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager

from etl.services.context import RunResources
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from support.run_helpers import NO_PROGRESS
from support.sync_account import MORNING

SIZE = 8
PATIENCE = 120
"""Seconds until a hanging pool counts as a failure."""


@contextmanager
def no_lock(_engine, _name, *, wait):
    """A lock that locks nothing, for runs that rely on the fence alone."""
    yield


def worker(pipe, barrier):
    """Run the requests that arrive on the pipe, each at the same time as the other processes."""
    while (request := pipe.recv()) is not None:
        settings, options = request
        barrier.wait(PATIENCE)
        try:
            report = run_sync(
                settings,
                RunRequest("sync"),
                NO_PROGRESS,
                redact=str,
                clock=lambda: MORNING,
                resources=RunResources(**options),
            )
            pipe.send((report.exit_code, str(report.error or "")))
        except BaseException as error:  # noqa: BLE001 - reported by the test
            pipe.send((70, repr(error)))


class ProcessPool:
    """A pool of processes; each imports the program once."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.barrier = context.Barrier(SIZE)  # must stay referenced
        self.workers = []
        for _ in range(SIZE):
            parent_end, child_end = context.Pipe()
            process = context.Process(target=worker, args=(child_end, self.barrier), daemon=True)
            process.start()
            child_end.close()
            self.workers.append((process, parent_end))

    def run(self, *all_settings, **options):
        """Start eight runs of one account, or of several in turn, with these fields of their resources.

        Returns:
            Their exit codes and error lines.
        """
        for number, (_, pipe) in enumerate(self.workers):
            pipe.send((all_settings[number % len(all_settings)], options))
        results = []
        for _, pipe in self.workers:
            assert pipe.poll(PATIENCE), "a run hangs"
            results.append(pipe.recv())
        return results

    def close(self):
        for process, pipe in self.workers:
            process.kill()
            process.join()
            pipe.close()
            process.close()
