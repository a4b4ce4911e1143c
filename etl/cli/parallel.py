"""Concurrent runs of several accounts, each in a worker process.

Every worker has its own executor: if its process dies, the other accounts are not affected, as they would be if
they shared one. Workers write their log lines and errors to the same stderr, a whole line at a time; the main process
alone prints results.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait as wait_for_any
from typing import Final

from etl import signals
from etl.cli.account_runs import run_account
from etl.cli.output import OutputOptions, internal_error, report_error
from etl.cli.selection import LoadedAccount
from etl.config.schema import Settings
from etl.errors import BillingError, Interrupted
from etl.log import Redactor, log_context
from etl.services.run import AccountOutcome, RunRequest, SyncResult

STOP_SECONDS: Final = 1.5
"""Time to wait for interrupted runs; then the main process ends, and with it the workers."""

MAX_SOCKET_FOLDER: Final = 60
"""Bytes: the path of a socket has at most 103 on every system, and the library adds up to 40."""

_Running = dict[Future[AccountOutcome], tuple[ProcessPoolExecutor, LoadedAccount]]


def run_side_by_side(
    options: OutputOptions, request: RunRequest, selected: Sequence[LoadedAccount], *, at_once: int, run_id: str
) -> Generator[AccountOutcome]:
    """Run the accounts in worker processes, and yield their outcomes as they end.

    Two accounts with the same token do not run at the same time.

    Args:
        options: Verbosity and format of the output.
        request: The kind of run and its days.
        selected: The accounts.
        at_once: Maximum number of workers.
        run_id: The UUID of the run, for the log.

    Raises:
        Interrupted: A signal was received; the workers have received it too.
    """
    waiting = deque(selected)
    idle = [_start_worker() for _ in range(min(at_once, len(selected)))]
    running: _Running = {}
    # A worker needs no secrets of other accounts.
    bare = replace(options, redact=Redactor())
    try:
        while waiting or running:
            while idle and (account := _take_next(waiting, running)):
                with signals.deferred():
                    worker = idle.pop()
                    running[worker.submit(_run_in_worker, bare, request, account, run_id)] = worker, account
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, account = running.pop(future)
                outcome = _outcome_of(future, options, request, account)
                if outcome is None or outcome.signal_number is not None:
                    outcome = _report_death(options, request, account)
                    worker.shutdown()
                    worker = _start_worker()
                idle.append(worker)
                yield _with_settings(outcome, account)
    except Interrupted as stopped:
        _send_to_workers(stopped.signal_number)
        for future in wait(running, timeout=STOP_SECONDS).done:
            worker, account = running.pop(future)
            idle.append(worker)
            if future.exception() is None:
                yield _with_settings(future.result(), account)
        raise
    finally:
        if running:
            _send_to_workers(signal.SIGTERM)
        # At its exit the interpreter writes to the pipes of executors, which must not be closed by a thread just then.
        for worker in idle:
            worker.shutdown()
        for worker, _ in running.values():
            worker.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> ProcessPoolExecutor:
    """An executor with one process, which starts with its first account."""
    method = _start_method()
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__, "etl.services.sync"])
    return ProcessPoolExecutor(1, mp_context=context, initializer=_set_up_worker)


def _start_method() -> str:
    """`forkserver`, which imports the program once for all workers, or `spawn` where it cannot be used."""
    # The fork server listens on a socket in the folder for temporary files, whose path must not be too long.
    fits = len(os.fsencode(tempfile.gettempdir())) <= MAX_SOCKET_FOLDER
    return "forkserver" if fits and "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def _take_next(waiting: deque[LoadedAccount], running: _Running) -> LoadedAccount | None:
    """Remove and return the first account whose token is not in use; None if there is none."""
    in_use = {_token_of(account) for _, account in running.values()} - {None}
    for account in waiting:
        if _token_of(account) not in in_use:
            waiting.remove(account)
            return account
    return None


def _token_of(account: LoadedAccount) -> tuple[str, str] | None:
    settings = account[1]
    return (settings.api_url, settings.api_token) if isinstance(settings, Settings) and settings.api_token else None


def _with_settings(outcome: AccountOutcome, account: LoadedAccount) -> AccountOutcome:
    settings = account[1]
    return replace(outcome, settings=settings if isinstance(settings, Settings) else None)


def _outcome_of(
    future: Future[AccountOutcome], options: OutputOptions, request: RunRequest, account: LoadedAccount
) -> AccountOutcome | None:
    """The outcome of a run that has ended; None if its worker has died."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None
    except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
        return _report_failure(options, request, account, internal_error(error, options))


def _report_death(options: OutputOptions, request: RunRequest, account: LoadedAccount) -> AccountOutcome:
    error = BillingError("the worker process was killed (out of memory?)")
    return _report_failure(options, request, account, error)


def _report_failure(
    options: OutputOptions, request: RunRequest, account: LoadedAccount, error: BillingError
) -> AccountOutcome:
    """The outcome of an account whose worker returned none."""
    label, _ = account
    result = SyncResult(label, request.command, request.dry_run)
    result.error = error
    report_error(options, error, label)
    return AccountOutcome(None, result, result.exit_code)


def _send_to_workers(signal_number: int) -> None:
    for process in multiprocessing.active_children():
        with suppress(ProcessLookupError):
            if process.pid is not None:
                os.kill(process.pid, signal_number)


# --- in the worker ----------------------------------------------------------------------------------------------------


def _set_up_worker() -> None:
    """End this process by any signal while it is idle, and as soon as its parent is gone: transactions roll back."""
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait_for_any([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def _run_in_worker(options: OutputOptions, request: RunRequest, account: LoadedAccount, run_id: str) -> AccountOutcome:
    """Run one account; a signal ends the run, and between two runs the process."""
    label, settings = account
    options = replace(options, redact=Redactor(settings.secrets() if isinstance(settings, Settings) else ()))
    options.set_up_logs()
    signals.install_handlers()
    try:
        with log_context(run_id=run_id, account=label):
            outcome = run_account(options, request, label, settings, alone=False, side_by_side=True)
    finally:
        for number in signals.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
    return replace(outcome, settings=None)
