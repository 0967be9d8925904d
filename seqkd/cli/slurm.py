"""Jobs in Slurm's queue: submitted, watched and cancelled through sbatch, squeue and scancel.

Nothing here needs Slurm's accounting. What a job ended with stands in a file beside its log, written by the job's
script (local/slurm/job.sh), since Slurm forgets a job some minutes after its end.
"""

from __future__ import annotations

import collections
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from seqkd.cli.job import Job
from seqkd.errors import ConfigError, SeqkdError

# States of a job that is over for good, and what to say of it. A job that is to run again is pending.
OVER = {
    "BOOT_FAIL": "failed: its node did not boot",
    "CANCELLED": "was cancelled",
    "DEADLINE": "missed its deadline",
    "NODE_FAIL": "failed with its node, and was not requeued",
    "OUT_OF_MEMORY": "took more memory than it had; ask for more in SEQKD_SBATCH (--mem)",
    "TIMEOUT": "reached its time limit too often; ask for more in SEQKD_SBATCH (--time)",
}
GRACE = 60.0  # seconds for a file to appear on a shared disk
PATIENCE = 600.0  # seconds that Slurm's controller may be silent, as when it is restarted


class Slurm:
    """Where jobs run when SEQKD_BACKEND is slurm.

    SEQKD_SBATCH holds options for sbatch, quoted as for a shell, that come after ours; SEQKD_SLURM_JOB the script that
    every job is (local/slurm/job.sh, set by local/cmd.sh). A handle is a job id.
    """

    pause, news_every = 1.0, 60.0

    def __init__(self) -> None:
        """Raises ConfigError when Slurm is not here, or local/cmd.sh was not read."""
        if shutil.which("sbatch") is None:
            raise ConfigError(
                "SEQKD_BACKEND is slurm, but there is no sbatch on the PATH; expected a machine of Slurm's"
            )
        self.script = Path(os.environ.get("SEQKD_SLURM_JOB", ""))
        if not self.script.is_file():
            raise ConfigError(
                f"SEQKD_SLURM_JOB is {str(self.script)!r}, which is no file; run '. local/cmd.sh' first, "
                "which names local/slurm/job.sh"
            )
        try:
            self.options = shlex.split(os.environ.get("SEQKD_SBATCH", ""))
        except ValueError as error:
            raise ConfigError(f"SEQKD_SBATCH={os.environ['SEQKD_SBATCH']!r} cannot be read: {error}") from error
        self.states: dict[str, tuple[str, str]] = {}  # state and reason by job id
        self.missing: dict[str, float] = {}  # when a job was first found to have left the queue
        self.answered = time.monotonic()

    def start(self, job: Job) -> str:
        """Submit a job. Raises SeqkdError with what sbatch says if it refuses."""
        ended_with(job).unlink(missing_ok=True)
        job.log.write_text("", encoding="utf-8")
        command = ["sbatch", *submission(job), *self.options, str(self.script), str(ended_with(job)), *job.command]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"status {done.returncode}"
            raise SeqkdError(f"{job.name} was refused ({said}); see SEQKD_SBATCH in local/cmd.sh")
        number = done.stdout.strip().partition(";")[0]  # "id" or "id;cluster"
        print(f"{job.name} is Slurm job {number} (log: {job.log})", flush=True)
        return number

    def ended(self, running: dict[str, Job]) -> dict[str, int | str]:
        """Of the jobs that are over: their exit status, or what became of them."""
        if not running or not self.look(list(running)):
            return {}
        found: dict[str, int | str] = {}
        for number, job in running.items():
            state, _ = self.states.get(number, ("GONE", ""))
            if state in OVER:
                found[number] = OVER[state]
            elif state == "COMPLETED":
                found[number] = 0
            elif state in ("FAILED", "GONE"):
                if (status := read_status(job)) is not None:
                    found[number] = status
                elif time.monotonic() - self.missing.setdefault(number, time.monotonic()) > GRACE:
                    found[number] = f"has left Slurm's queue (job {number}) without saying how it ended"
            else:
                self.missing.pop(number, None)
        return found

    def look(self, numbers: list[str]) -> bool:
        """Ask for the states of jobs; False if the controller does not answer just now.

        Raises SeqkdError when it has not for ten minutes.
        """
        command = ["squeue", "--noheader", "--states=all", "--format=%i|%T|%r", f"--jobs={','.join(numbers)}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode and "Invalid job id" not in done.stderr:  # of a single job that is forgotten
            if time.monotonic() - self.answered > PATIENCE:
                said = " ".join(done.stderr.split())
                raise SeqkdError(f"Slurm has not answered for {PATIENCE / 60:.0f} minutes ({said}); run it again later")
            return False
        self.answered = time.monotonic()
        rows = (line.strip().split("|", 2) for line in done.stdout.splitlines())
        self.states = {number: (state, reason) for number, state, reason in rows}
        return True

    def news(self, running: dict[str, Job]) -> list[str]:
        """Such as "2 running, 3 pending (Priority 2, Resources 1)"."""
        states = collections.Counter(state.lower() for state, _ in self.states.values())
        reasons = collections.Counter(reason for state, reason in self.states.values() if state == "PENDING")
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items(), reverse=True))
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        return [f"{counts} ({why})" if why else counts] if counts else []

    def stop(self, running: dict[str, Job]) -> None:
        """Cancel these jobs, and say so."""
        if not running:
            return
        done = subprocess.run(["scancel", *running], capture_output=True, text=True)
        said = "" if done.returncode == 0 else f", but scancel says: {' '.join(done.stderr.split())}"
        print(f"cancelled {len(running)} Slurm job(s) ({', '.join(running)}){said}", flush=True)


def submission(job: Job) -> list[str]:
    """Our options of sbatch for a job."""
    needs = job.needs
    return [
        "--parsable",
        "--requeue",  # after a failed node or a preemption
        "--signal=B:USR1@90",  # job.sh puts the job back into the queue 90 s before its time limit
        "--open-mode=append",  # a job that runs again goes on with its log
        f"--job-name=seqkd {job.name}",
        f"--output={filename_pattern(job.log.absolute())}",
        f"--nodes={needs.nodes}",
        f"--ntasks-per-node={needs.per_node}",
        *([f"--gres=gpu:{needs.ngpu}"] if needs.ngpu else []),
    ]


def filename_pattern(path: Path) -> str:
    """A path for --output, in which % would begin a replacement, and a backslash turn it off."""
    if "\\" in str(path):
        raise ConfigError(f"{path}: Slurm cannot write a log to a path with a backslash; choose another --exp")
    return str(path).replace("%", "%%")


def ended_with(job: Job) -> Path:
    """The file that receives a job's exit status."""
    return job.log.absolute().with_name(f".{job.log.name}.status")


def read_status(job: Job) -> int | None:
    """What the job's script wrote, if it did."""
    try:
        return int(ended_with(job).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
