"""Run one command; say its exit code, wall and CPU seconds, and the peak of its memory as JSON.

A process of its own, and a small one, that imports nothing big: Linux counts the memory of whoever starts a program
towards that program's peak, and the benchmark itself is larger than the floors.

What a command starts itself counts with it. What its processes share counts once: the kernel is asked for their
proportional sizes ten times a second, and a single process is never said to have less than its own highest mark.
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
    begun = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    threading.Thread(target=watch, args=[pid, peaks], daemon=True).start()
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
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
            peaks.append(together(pid))
        except (OSError, StopIteration):  # one of them ended just now
            continue


def together(pid: int) -> int:
    """The memory of a process and of those that it started, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as sizes:  # noqa: PTH123 - pathlib is not small
        own = int(next(line for line in sizes if line.startswith("Pss:")).split()[1])
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123 - the same
        return own + sum(together(int(child)) for child in children.read().split())


if __name__ == "__main__":
    main()
