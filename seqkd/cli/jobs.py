"""Run command lines side by side, each with a log file: on this machine, or under Slurm (see local/cmd.sh)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from seqkd.cli.job import Backend, Job
from seqkd.cli.slurm import Slurm
from seqkd.errors import ConfigError, SeqkdError
from seqkd.processes import Needs
from seqkd.progress import last_line


class Here:
    """This machine: every job is a fork of one process that has imported Lightning, which takes longer than small jobs.

    That process, Python's fork server, starts with the first job. It computes nothing, so that forks of it are sound.
    """

    pause, news_every = 0.2, 5.0

    def __init__(self) -> None:
        self.told: dict[Path, str] = {}

    def start(self, job: Job) -> BaseProcess:
        """Start a process; raises ConfigError if it needs more than one machine."""
        if job.needs.nodes > 1:
            raise ConfigError(
                f"{job.name} is to run on {job.needs.nodes} nodes, but SEQKD_BACKEND=local runs jobs on this machine; "
                "set SEQKD_BACKEND=slurm (local/cmd.sh), or start 'seqkd train --one' by torchrun on each of them"
            )
        job.log.write_bytes(b"")
        process = forking().Process(target=run_forked, args=(job.arguments, job.log, dict(os.environ)), name=job.name)
        process.start()
        return process

    def ended(self, running: dict[Any, Job]) -> dict[Any, int | str]:
        """Exit statuses, negative for a signal."""
        return {process: process.exitcode for process in running if process.exitcode is not None}

    def news(self, running: dict[Any, Job]) -> list[str]:
        """How far each job is, by the last line of its log, where that is new."""
        found = {job.log: last_line(job.log) for job in running.values()}
        fresh = [line for log, line in found.items() if line != self.told.get(log, "")]
        self.told |= found
        return fresh

    def stop(self, running: dict[Any, Job]) -> None:
        """Ask, and after 20 s insist."""
        for process in running:
            process.terminate()
        for process in running:
            process.join(20)
            process.kill()


def forking() -> ForkServerContext:
    """What starts processes that are forked with Lightning imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seqkd.training.loop", "seqkd.training.run"])
    return context


def run_forked(arguments: list[str], log: Path, environment: Mapping[str, str]) -> None:
    """Be ``seqkd ARGUMENTS``, whose output goes to ``log``, in a process just forked; does not return."""
    from seqkd.cli.main import main

    with log.open("ab") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    os.environ.clear()  # the server has that of its start
    os.environ.update(environment)
    sys.argv = ["seqkd", *arguments]
    sys.exit(main(arguments))


def on_slurm() -> bool:
    """Whether jobs go to Slurm. Raises ConfigError when SEQKD_BACKEND names something else than local or slurm."""
    backend = os.environ.get("SEQKD_BACKEND", "local")
    if backend not in ("local", "slurm"):
        raise ConfigError(f"SEQKD_BACKEND is {backend!r}; expected local or slurm (see local/cmd.sh)")
    return backend == "slurm"


def at_once(nj: int) -> int:
    """How many jobs are to run side by side: ``--nj`` on this machine, SEQKD_MAX_JOBS (50) in Slurm's queue."""
    if not on_slurm():
        return nj
    told = os.environ.get("SEQKD_MAX_JOBS", "50")
    if not (told.isdecimal() and int(told) > 0):
        raise ConfigError(f"SEQKD_MAX_JOBS is {told!r}; expected how many jobs may be in Slurm's queue, such as 50")
    return int(told)


def failure(job: Job, status: int | str) -> str:
    """Say why a job failed: its own one sentence if it ended in one, else the end of its log."""
    text = job.log.read_text(encoding="utf-8", errors="replace") if job.log.is_file() else ""
    lines = text.splitlines() or ["(its log is empty)"]
    if isinstance(status, str):  # the place's own word; what the job said last is not the reason
        return f"{job.name} {status} (log: {job.log})"
    if status == -signal.SIGKILL:  # nobody but the system, or a person, sends this
        return f"{job.name} was killed, most likely for memory; run it again with a lower --nj (log: {job.log})"
    said = f"seqkd {job.arguments[0]}: "
    # torchrun and srun have something to say after it.
    for line in reversed(lines):
        if line.startswith(said):
            return f"{job.name}: {line.removeprefix(said)} (log: {job.log})"
    tail = "\n".join(lines[-5:])
    return f"{job.name} failed with status {status}; {job.log} ends in:\n{tail}"


def run_jobs(jobs: list[Job], limit: int, later: int = 0) -> None:
    """Run up to ``limit`` jobs at a time (see :func:`at_once`).

    Prints what ends and, about once a minute, how far the others are. ``later`` counts the jobs that the caller will
    run after these, for the time that is left.

    One failure stops the others, and so does Ctrl-C or SIGTERM.

    Raises:
        SeqkdError: a job failed; with its own sentence, or the last lines of its log.
    """
    if on_slurm():
        place: Backend = Slurm()
    else:
        place = Here()
    waiting, running, began, done = list(jobs), {}, time.monotonic(), 0
    told = began
    # Without this a plain `kill` would end us and leave the jobs running.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.pop(0)
                job.log.parent.mkdir(parents=True, exist_ok=True)
                running[place.start(job)] = job
            for handle, status in place.ended(running).items():
                job = running.pop(handle)
                if status:
                    raise SeqkdError(failure(job, status))
                done += 1
                elapsed = time.monotonic() - began
                left = elapsed / done * (len(jobs) + later - done) / 60
                more = f" with {later} more after these" if later else ""
                state = f"{done}/{len(jobs)}, {elapsed / 60:.1f} min, about {left:.1f} left{more}"
                print(f"{job.name} done ({state})", flush=True)
            if (now := time.monotonic()) - told > place.news_every:
                told = now
                for line in place.news(running):
                    print(f"{line} ({done}/{len(jobs)} done, {(now - began) / 60:.1f} min)", flush=True)
            time.sleep(place.pause)
    finally:
        signal.signal(signal.SIGTERM, before)
        place.stop(running)


def run_shards(
    command: Sequence[str], argv: Sequence[str], shards: int, logs: Path, needs: Needs | None = None
) -> None:
    """Run ``seqkd COMMAND --shard i --shards n ARGV`` for every i, side by side.

    Args:
        command: such as ("decode",) or ("book", "make").
        argv: its arguments, the same for all.
        shards: n.
        logs: directory for ``<command>.<i>.log``.
        needs: of each.
    """
    name = " ".join(command)
    run_jobs(
        [
            Job(
                f"{name}, shard {shard} of {shards}",
                [*command, "--shard", str(shard), "--shards", str(shards), *argv],
                logs / f"{'_'.join(command)}.{shard}.log",
                needs or Needs(),
            )
            for shard in range(shards)
        ],
        shards,
    )
