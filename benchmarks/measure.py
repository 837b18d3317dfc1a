"""Runs a command and says how long it took and how much memory it and all its children held at once."""

import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# A look costs 2 to 4 ms of one core. Looking more often (20 ms) found the same peaks and slowed what it watched.
SAMPLE_SECONDS = 0.05

MIB = 1024 * 1024


class CommandError(Exception):
    """A measured command failed; the message has the end of what it said."""


@dataclass(frozen=True)
class Measurement:
    """Wall time of a command, and the highest sum of the resident memory of its process tree."""

    seconds: float
    mib: float


def measure(command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str]) -> Measurement:
    """Runs the command to its end. Raises CommandError when its exit status is not 0."""
    peak = 0
    ended = threading.Event()

    def watch(tree: psutil.Process) -> None:
        nonlocal peak
        while not ended.wait(SAMPLE_SECONDS):
            peak = max(peak, _resident(tree))

    # Into a file: a pipe that nobody reads fills up.
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        watcher = threading.Thread(target=watch, args=(psutil.Process(process.pid),))
        watcher.start()
        try:
            status = process.wait()
            seconds = time.perf_counter() - started
        finally:
            ended.set()
            watcher.join()
        if status != 0:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()[-2000:]
            raise CommandError(f"{' '.join(map(str, command))} failed (exit status {status}):\n{said}")
    return Measurement(seconds=seconds, mib=peak / MIB)


def _resident(tree: psutil.Process) -> int:
    """Bytes, summed over the processes: pages that two of them share (Node's code) count twice."""
    total = 0
    try:
        processes = [tree, *tree.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # ended meanwhile
            continue
    return total
