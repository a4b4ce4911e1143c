"""Run one command; print its exit code, wall and CPU seconds and peak memory as JSON.

This is a small process without large imports: Linux counts the memory of the starting process towards the peak of the
started one, and the benchmark itself is larger than the baselines.

Child processes are included. Shared memory counts once: the proportional sizes are read ten times a second. The result
is at least the maximum of a single process as the kernel reports it.
"""

import json
import os
import sys
import threading
import time

INTERVAL = 0.1


def main() -> None:
    command = sys.argv[1:]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    peaks = [0.0]
    started = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    threading.Thread(target=watch, args=[pid, peaks], daemon=True).start()
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    figures = {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": max(used.ru_maxrss, *peaks) / 1024,  # Linux counts in KiB
    }
    print(json.dumps(figures))


def watch(pid: int, peaks: list[float]) -> None:
    while True:
        time.sleep(INTERVAL)
        try:
            peaks.append(total_memory(pid))
        except (OSError, StopIteration):  # a process has just ended
            continue


def total_memory(pid: int) -> int:
    """The memory of a process and of those that it started, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as sizes:  # noqa: PTH123 - pathlib is not small
        own = int(next(line for line in sizes if line.startswith("Pss:")).split()[1])
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123 - the same
        return own + sum(total_memory(int(child)) for child in children.read().split())


if __name__ == "__main__":
    main()
