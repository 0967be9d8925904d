"""Run command lines side by side, each with a log file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from seqkd.errors import SeqkdError


@dataclass
class Job:
    """A ``seqkd`` command line without the program name, and where its output goes."""

    name: str
    arguments: list[str]
    log: Path


def failure(job: Job, status: int) -> str:
    """Say why a job failed: its own one sentence if it ended in one, else the end of its log."""
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines() or ["(its log is empty)"]
    said = f"seqkd {job.arguments[0]}: "
    if lines[-1].startswith(said):
        return f"{job.name}: {lines[-1].removeprefix(said)} (log: {job.log})"
    tail = "\n".join(lines[-5:])
    return f"{job.name} failed with status {status}; {job.log} ends in:\n{tail}"


def run_jobs(jobs: list[Job], limit: int) -> None:
    """Run up to ``limit`` jobs at a time; print what starts, ends and is left. One failure stops the others.

    Raises SeqkdError with the last lines of the failed job's log.
    """
    waiting, running, began, done = list(jobs), {}, time.monotonic(), 0
    # Without this a plain `kill` would end us and leave the jobs running.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.pop(0)
                job.log.parent.mkdir(parents=True, exist_ok=True)
                command = [sys.executable, "-m", "seqkd.cli.main", *job.arguments]
                with job.log.open("w", encoding="utf-8") as output:
                    running[subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)] = job
            for process in [p for p in running if p.poll() is not None]:
                job = running.pop(process)
                if process.returncode:
                    raise SeqkdError(failure(job, process.returncode))
                done += 1
                elapsed = time.monotonic() - began
                left = elapsed / done * (len(jobs) - done) / 60
                print(
                    f"{job.name} done ({done}/{len(jobs)}, {elapsed / 60:.1f} min, about {left:.1f} left)", flush=True
                )
            time.sleep(0.2)
    finally:
        signal.signal(signal.SIGTERM, before)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
