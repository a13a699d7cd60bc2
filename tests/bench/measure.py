"""Time, CPU and memory of a process, and medians."""

import os
import statistics
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid, field="VmHWM"):
    """`VmHWM`: the most it ever had resident; `VmRSS`: now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def wait(condition, timeout, what, every=0.01):
    """Looks every 10 ms, or so many seconds, until `condition` is true; gives the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > timeout:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(every)
    return time.monotonic() - begun


def timed(command, **arguments):
    """Wall-clock seconds of a command that must succeed."""
    begun = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **arguments)
    return time.monotonic() - begun


def median(values):
    return statistics.median(values)


def report(title, lines):
    """Prints one result block: (what, value, limit) a line."""
    print(f"\n{title}")
    for what, value, limit in lines:
        print(f"  {what:<58} {value:>14}   {limit}")
