"""The database connection is lost during a run: terminated sessions, a restart, a server that goes silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Engine, event, text
from support.sync_account import LAST_CLOSED, START, Account, charges, end_sessions, errors_seen, just_before

from etl.db.engine import new_engine
from etl.db.retry import MAX_ATTEMPTS

servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
MOMENTS = [
    ("INSERT INTO sync_runs", 0),
    ("COMMIT", 0),
    ("SELECT sync_state.fence", 0),
    ("INSERT INTO synced_days", 0),
    ("INSERT INTO synced_days", 3),
    ("COMMIT", 1),
]
"""The run's row and its commit; of the window: the fence, the first day, the last day and the commit."""


@pytest.fixture
def account(database_url, sandbox):
    sandbox.dataset.replace([*charges(START, 3), *charges(LAST_CLOSED, 4, price="1.5"), *charges("2026-03-11", 2)])
    return Account(database_url, sandbox)


@servers
@pytest.mark.fault(68, 96, 99)
@pytest.mark.parametrize(("moment", "skip"), MOMENTS)
def test_a_terminated_session_causes_one_retry(account, moment, skip):
    other = new_engine(account.settings.database_url)
    with errors_seen() as errors, just_before(moment, lambda: end_sessions(other), skip=skip) as ended:
        assert account.run() == (0, "")
    assert (len(ended), bool(errors)) == (1, True)
    account.assert_matches_vendor()
    assert account.run() == (0, "")
    assert [row[0] for row in account.read("SELECT outcome FROM sync_runs ORDER BY id")] == ["done", "done"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.fault(68, 96)
def test_a_session_terminated_during_copy_causes_one_retry(account):
    with account.engine.begin() as connection:
        # Sequences are not rolled back: the second attempt finds the first number used.
        connection.execute(text("CREATE SEQUENCE tries"))
        connection.execute(
            text(
                "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF nextval('tries') = 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
                " RETURN NEW; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER leave BEFORE INSERT ON billing_records FOR EACH ROW EXECUTE FUNCTION leave()")
        )
    assert account.run() == (0, "")
    account.assert_matches_vendor()
    assert account.read("SELECT nextval('tries')")[0][0] > 9, "two attempts"


@servers
@pytest.mark.fault(68, 96)
def test_repeatedly_terminated_sessions_end_the_run_with_74(account):
    other = new_engine(account.settings.database_url)
    before = account.dump()
    with just_before("INSERT INTO synced_days", lambda: end_sessions(other), times=MAX_ATTEMPTS) as ended:
        code, line = account.run()
    assert (code, "the connection to the database was lost" in line or "the database failed" in line) == (74, True), (
        line
    )
    assert len(ended) == MAX_ATTEMPTS
    assert account.dump() | {"accounts": []} == before | {"sync_state": [(1, None, None)]}
    assert account.run() == (0, "")
    account.assert_matches_vendor()


@servers
@pytest.mark.fault(91, 92, 95)
def test_a_run_that_loses_its_lock_succeeds_when_no_other_run_starts(account):
    other = new_engine(account.settings.database_url)
    assert account.run(after_step=lambda: end_sessions(other)) == (0, "")
    account.assert_matches_vendor()


class TcpProxy:
    """A TCP proxy to a server that can fail: `cut` closes and refuses connections, `mute` accepts and stays silent."""

    def __init__(self, server):
        self.server = server
        self.mute = self.cut = False
        self.refuse = 0
        self.accepted = 0
        self.open = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.open.append(client)
            if self.refuse:
                self.refuse -= 1
                client.close()
                continue
            server = socket.create_connection(self.server)
            self.open.append(server)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    def carry(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                if not self.mute:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def restart(self, refuse):
        """Close all connections, and the next ones as soon as they are accepted."""
        self.refuse = refuse
        for end in self.open:
            with closing(end), contextlib.suppress(OSError):  # it may have ended by itself
                end.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        self.restart(0)


@contextmanager
def proxy_to(url):
    proxy = TcpProxy((url.host, url.port or {"postgresql": 5432}.get(url.get_backend_name(), 3306)))
    try:
        yield proxy
    finally:
        proxy.close()


def over(proxy, url):
    """The URL of the database through the proxy, with short timeouts."""
    quick = {"connect_timeout": "2", "read_timeout": "1"}
    return url.set(host="127.0.0.1", port=proxy.port).update_query_dict(quick)


@servers
@pytest.mark.fault(96, 99)
def test_a_server_that_restarts_is_waited_for(account):
    url = account.settings.database_url
    with proxy_to(url) as proxy, just_before("INSERT INTO synced_days", lambda: proxy.restart(refuse=2)) as restarted:
        assert account.run(url=over(proxy, url)) == (0, "")
    assert (len(restarted), proxy.refuse) == (1, 0)
    account.assert_matches_vendor()


@servers
@pytest.mark.fault(98)
def test_a_server_that_accepts_and_stays_silent_times_out(account):
    url = account.settings.database_url
    with proxy_to(url) as proxy:
        proxy.mute = True
        code, words = account.run(url=over(proxy, url))
    assert (code, proxy.accepted) == (74, 1), words
    assert "cannot be reached" in words or "lost" in words
    assert account.vendor.requests == []


@servers
@pytest.mark.fault(98)
def test_a_server_that_goes_silent_in_a_transaction_times_out_and_is_retried(account):
    url = account.settings.database_url
    with proxy_to(url) as proxy:

        def fall_silent():
            proxy.mute = True

        def speak_again(context):
            proxy.mute = False

        event.listen(Engine, "handle_error", speak_again)
        try:
            with just_before("INSERT INTO synced_days", fall_silent) as fell:
                result = account.run(url=over(proxy, url))
        finally:
            event.remove(Engine, "handle_error", speak_again)
    assert (len(fell), result) == (1, (0, ""))
    account.assert_matches_vendor()


@servers
@pytest.mark.fault(98)
def test_timeouts_in_the_url_override_the_defaults(database_url):
    given = {
        "postgresql": {"options": "-c lock_timeout=123", "connect_timeout": "7"},
        "mariadb": {"init_command": "SET SESSION innodb_lock_wait_timeout = 3", "read_timeout": "7"},
    }[database_url.get_backend_name()]
    query = {
        "postgresql": "SELECT current_setting('lock_timeout')",
        "mariadb": "SELECT @@innodb_lock_wait_timeout",
    }[database_url.get_backend_name()]
    with new_engine(database_url.update_query_dict(given)).begin() as connection:
        assert str(connection.scalar(text(query))) in {"123ms", "3"}
        if database_url.get_backend_name() == "postgresql":
            assert connection.scalar(text("SELECT current_setting('statement_timeout')")) == "10min"
            assert connection.scalar(text("SELECT current_setting('idle_in_transaction_session_timeout')")) == "10min"
        else:
            assert connection.scalar(text("SELECT @@idle_transaction_timeout")) == 600
