"""Run one command; say its exit code, wall and CPU seconds, and the peak of its memory as JSON.

A process of its own, and a small one, that imports nothing big: Linux counts the memory of whoever starts a program
towards that program's peak, and the benchmark itself is larger than the floors.
"""

import json
import os
import sys
import time


def main() -> None:
    command = sys.argv[1:]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    begun = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    figures = {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss / 1024,  # Linux counts in KiB
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
