"""Programs that tests start and stop, each in its own process group and on its own ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

PATIENCE = 240
"""Seconds until a condition that is not met counts as a failure."""


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a condition while a process runs."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, (process.stdout.read() if process.stdout else "")[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def end(process: subprocess.Popen[str], *signals: signal.Signals) -> None:
    """End a process and its group: send each of the signals in turn, then SIGKILL."""
    for number in (*signals, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
    if process.stdout:
        process.stdout.close()


def free_ports(count: int) -> list[int]:
    """Ports of this machine without a listener."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def is_open(port: int) -> bool:
    """Whether a port has a listener."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def children(pid: int) -> list[int]:
    """Processes below a process."""
    found, parents = [pid], {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def peers_of(pid: int) -> set[int]:
    """Ports that a process is connected to; empty if it has ended."""
    try:
        sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    ports = set()
    for fields in map(str.split, lines):
        if f"socket:[{fields[9]}]" in sockets:
            ports.add(int(fields[2].rpartition(":")[2], 16))
    return ports
