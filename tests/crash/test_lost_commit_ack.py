"""The server has committed, and its reply is lost."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import text

COMMIT = b"COMMIT"
WRITES = (b"INSERT", b"UPDATE", b"COPY")


class CommitProxy:
    """A TCP proxy to a database server. It drops the reply to one of the COMMITs and closes the connection.

    Attributes:
        cut_at: The number of that COMMIT among those of writing transactions, from 1; None for no cut.
    """

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self.cut_at: int | None = None
        self.commits = 0
        self.cuts = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self, cut_at: int | None) -> None:
        """Restart the count."""
        self.cut_at, self.commits, self.cuts = cut_at, 0, 0

    def close(self) -> None:
        """Accept no more connections."""
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.server)
                cut = threading.Event()
                threading.Thread(target=self._carry, args=(client, server, cut, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, cut, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, cut: threading.Event, forth: bool) -> None:
        wrote = False
        with suppress(OSError):
            while data := source.recv(1 << 16):
                wrote = wrote or any(word in data for word in WRITES)
                if forth and wrote and COMMIT in data:
                    wrote = False
                    with self.lock:
                        self.commits += 1
                        if self.commits == self.cut_at:
                            self.cuts += 1
                            cut.set()
                elif cut.is_set():
                    # The server's reply: it has committed.
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def proxy_to(url) -> Iterator[CommitProxy]:
    proxy = CommitProxy(url.host, url.port or {"postgresql": 5432}.get(url.get_backend_name(), 3306))
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def proxy(account) -> Iterator[CommitProxy]:
    """A proxy between the program and its database server; the queries of the tests bypass it."""
    with proxy_to(account.url) as proxy:
        account.url = account.url.set(host="127.0.0.1", port=proxy.port)
        yield proxy


def report_lines(done) -> list[str]:
    """The report of a run, without the account and the duration."""
    return re.findall(r"\d+ (?:days|new|changed|withdrawn|unchanged|rejected)|up to [\d-]+", done.output)


@pytest.mark.fault(97)
@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_commit_whose_reply_is_lost_is_applied_once(account, proxy, records):
    account.prepare(*records)
    proxy.reset(cut_at=None)
    undisturbed = account.sync()
    assert undisturbed.code == 0
    whole = account.stored_state()
    commits = proxy.commits
    assert commits >= 4, "the run's row, its windows and its end"
    with account.engine.connect() as connection:
        restated = connection.scalar(text("SELECT count(*) FROM restatements"))
    assert restated
    for number in range(1, commits + 1):
        account.prepare(*records)
        before = account.stored_state().watermark
        proxy.reset(cut_at=number)
        done = account.sync()
        assert proxy.cuts == 1
        assert done.code in {0, 74}, (number, done)
        if done.code == 0:
            assert report_lines(done) == report_lines(undisturbed), (
                "the report counts each change once, whatever the number of attempts"
            )
        between = account.check_invariants(before)
        proxy.reset(cut_at=None)
        account.check_undisturbed_run(between)
        assert account.stored_state().days == whole.days
        with account.engine.connect() as connection:
            query = "SELECT count(*) FROM restatements r JOIN accounts a ON a.id = r.account_id WHERE a.label = :label"
            assert connection.scalar(text(query), {"label": account.label}) == restated, (
                "each change is journalled once"
            )
            newest = "SELECT outcome FROM sync_runs ORDER BY id DESC LIMIT 1"
            assert connection.scalar(text(newest)) == "done"
