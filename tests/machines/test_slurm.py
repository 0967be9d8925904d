"""Recipes' jobs through a real Slurm of two nodes: killed, requeued, over nodes, refused, interrupted."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from seqkd.training.checkpoints import resume_points
from tests.machines.same import NO_NOISE, assert_same
from tests.machines.slurm import cluster
from tests.runs import arguments, train_here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
LONG = ("student.training.updates=80", "student.training.validate_every=8")


@dataclass
class Slurm:
    """A running cluster."""

    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30).stdout

    def driver(self, *command: str) -> subprocess.Popen[str]:
        """Start ``seqkd COMMAND`` as a recipe does: after local/cmd.sh."""
        line = f'. "$0" && exec {sys.executable} -m seqkd.cli.main "$@"'
        return subprocess.Popen(
            ["bash", "-c", line, str(ROOT / "local" / "cmd.sh"), *command],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def workers(self, number: str) -> dict[int, int]:
        """Process ids of a job's command, by rank."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                told = dict(
                    entry.split("=", 1) for entry in (process / "environ").read_text().split("\0") if "=" in entry
                )
                # The command itself, not the slurmstepd above it.
                ours = told.get("SLURM_CONF") == self.environment["SLURM_CONF"] and "SLURM_STEP_ID" in told
                if ours and told["SLURM_JOB_ID"] == number and b"seqkd.cli.main" in (process / "cmdline").read_bytes():
                    found[int(told["SLURM_PROCID"])] = int(process.name)
        return found


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
        yield Slurm({**environment, "SEQKD_BACKEND": "slurm", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def exp(tone_exp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a teacher in it, and with all in its name that a shell or Slurm would make something of."""
    place = tmp_path_factory.mktemp("exp") / "50%j $(touch pwned); 'a' & \"b\" *"
    shutil.copytree(tone_exp, place)
    return place


def wait_until(there: Callable[[], object], driver: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + 180
    while not there():
        assert driver.poll() is None, f"ended before {what}: {driver.communicate()[0]}"
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)


def finish(driver: subprocess.Popen[str]) -> str:
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    return output


def jobs_of(slurm: Slurm) -> dict[str, str]:
    """Ids of the jobs that are there, by name."""
    rows = (line.split("|", 1) for line in slurm.ask("squeue", "--noheader", "--format=%i|%j").splitlines())
    return {name: number for number, name in rows}


def test_killed_and_requeued_jobs_end_as_if_nothing_had_been(slurm: Slurm, exp: Path, tones: Path) -> None:
    driver = slurm.driver("train", "--group", "students", *arguments(exp, tones, "systems=[student]", "seeds=2", *LONG))
    runs = [exp / "student" / f"seed{seed}" for seed in range(2)]
    disturb = {
        0: lambda job: os.kill(slurm.workers(job)[0], signal.SIGKILL),
        1: lambda job: slurm.ask("scancel", "--batch", "--signal=USR1", job),  # what the time limit sends
    }

    def disturbed() -> bool:
        """Each as soon as it can carry on: on a busy machine one is over before the other begins."""
        for seed in [seed for seed in disturb if resume_points(runs[seed] / "checkpoints")]:
            disturb.pop(seed)(jobs_of(slurm)[f"seqkd student seed {seed}"])
        return not disturb

    wait_until(disturbed, driver, "resume points")
    output = finish(driver)
    logs = [run.with_name(f"{run.name}.log").read_text() for run in runs]
    assert "job.sh: a process was killed (status 137, attempt 1 of 3)" in logs[0]
    assert "job.sh: the time limit is near: requeued" in logs[1]
    assert all("resuming at update" in log for log in logs)
    assert re.search(r"student seed \d done \(1/2, [\d.]+ min, about [\d.]+ left\)", output)
    assert not list(exp.parent.rglob("pwned")) and not Path("pwned").exists()
    undisturbed = exp.with_name("undisturbed")
    shutil.copytree(exp / "tokens", undisturbed / "tokens")
    for seed, run in enumerate(runs):
        assert_same(run, train_here(undisturbed, tones, "student", f"seed={seed}", *LONG))


def test_one_run_over_two_nodes(slurm: Slurm, exp: Path, tones: Path) -> None:
    settings = ["student.training.max_duration=10", *LONG, *NO_NOISE]
    here = exp.with_name("here")
    shutil.copytree(exp / "tokens", here / "tokens")
    alone = [sys.executable, "-m", "seqkd.cli.main", "train", "--one"]
    subprocess.run(
        [*alone, *arguments(here, tones, "system=student", "processes=2", *settings)],
        check=True, capture_output=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    both = exp.with_name("both")
    shutil.copytree(exp / "tokens", both / "tokens")
    options = arguments(both, tones, "systems=[student]", "nodes=2", *settings)
    driver = slurm.driver("train", "--group", "students", *options)
    run = both / "student" / "seed0"
    wait_until(lambda: resume_points(run / "checkpoints"), driver, "a resume point")
    number = jobs_of(slurm)["seqkd student seed 0"]
    assert "NodeList=node[1-2]" in slurm.ask("scontrol", "show", "job", number)
    workers = slurm.workers(number)
    assert workers.keys() == {0, 1}
    os.kill(workers[1], signal.SIGKILL)
    finish(driver)
    log = run.with_name("seed0.log").read_text()
    assert "attempt 1 of 3)" in log and "resuming at update" in log
    assert_same(run, here / "student" / "seed0")


def test_a_book_in_shards(slurm: Slurm, exp: Path, tones: Path) -> None:
    """One shard's process is killed as soon as it is there."""
    from seqkd.knowledge import info, verify

    made = []
    for name, nj in (("one", "1"), ("two", "2")):
        place = exp.with_name(f"book {name}")
        shutil.copytree(exp / "tokens", place / "tokens")
        shutil.copytree(exp / "teacher", place / "teacher")
        driver = slurm.driver("book", "make", *arguments(place, tones, "systems=[kd]", "book=dense"), "--nj", nj)
        if nj == "2":
            wait_until(lambda: "seqkd book make, shard 1 of 2" in jobs_of(slurm), driver, "a job")
            number = jobs_of(slurm)["seqkd book make, shard 1 of 2"]
            wait_until(lambda number=number: slurm.workers(number), driver, "a process")
            os.kill(slurm.workers(number)[0], signal.SIGKILL)
        finish(driver)
        (manifest,) = place.rglob("manifest.json")
        assert verify(manifest.parent) == []
        made.append(info(manifest.parent))
    assert made[0].content == made[1].content and made[0].entries > 0
    assert "attempt 1 of 3)" in (exp.with_name("book two") / "logs" / "book_make.1.log").read_text()


def test_decoding_in_shards(slurm: Slurm, exp: Path, tones: Path) -> None:
    settings = arguments(exp, tones, "systems=[teacher,student]", "seeds=1", *LONG)
    slurm.environment["SEQKD_MAX_JOBS"] = "2"
    try:
        output = finish(slurm.driver("decode", *settings))
    finally:
        del slurm.environment["SEQKD_MAX_JOBS"]
    assert "decode, shard 1 of 2 done" in output
    assert all((exp / system / "seed0" / "decode_dev" / "hyp.trn").is_file() for system in ("teacher", "student"))


def test_a_sweep_submitted_by_submitit(slurm: Slurm, exp: Path, tones: Path) -> None:
    """In a place of its own: submitit gives the path of its jobs to a shell."""
    place = exp.with_name("sweep")
    shutil.copytree(exp / "tokens", place / "tokens")
    options = arguments(place, tones, "system=student", "seed=0,1", "hydra/launcher=submitit_slurm")
    output = finish(slurm.driver("train", "--multirun", *options))
    assert all(f"| seed={seed}/student/seed{seed} | best_dev_wer | " in output for seed in range(2))
    for seed in range(2):
        run = place / "sweep" / f"seed={seed}" / "student" / f"seed{seed}"
        assert_same(run, train_here(place, tones, "student", f"seed={seed}"))


def test_a_failing_job_ends_in_its_sentence_and_takes_the_others_along(slurm: Slurm, exp: Path, tones: Path) -> None:
    wrong = "+dev_chosen.student=['student.training.lrr=1']"
    settings = arguments(exp.with_name("failing"), tones, "systems=[student]", "seeds=4", wrong)
    driver = slurm.driver("train", "--group", "students", *settings)
    output, _ = driver.communicate(timeout=90)
    assert driver.returncode == 1
    assert re.search(
        r"^seqkd train: student seed \d: there is no setting student.training.lrr; did you mean "
        r"student.training.lr\? \(log: .*/student/seed\d.log\)$", output.splitlines()[-1]
    )  # fmt: skip
    wait_until_empty(slurm)


def test_a_job_that_is_cancelled_by_hand(slurm: Slurm, exp: Path, tones: Path) -> None:
    settings = arguments(exp.with_name("by hand"), tones, "systems=[student]", "seeds=2", *LONG)
    slurm.environment["SEQKD_SBATCH"] = "--begin=now+1hour"
    try:
        driver = slurm.driver("train", "--group", "students", *settings)
        wait_until(lambda: "seqkd student seed 1" in jobs_of(slurm), driver, "a job")
    finally:
        del slurm.environment["SEQKD_SBATCH"]
    slurm.ask("scancel", jobs_of(slurm)["seqkd student seed 1"])
    output, _ = driver.communicate(timeout=60)
    assert output.splitlines()[-1].startswith("seqkd train: student seed 1 was cancelled (log: ")
    wait_until_empty(slurm)


def test_ctrl_c_cancels_the_jobs(slurm: Slurm, exp: Path, tones: Path) -> None:
    settings = arguments(exp.with_name("interrupted"), tones, "systems=[student]", "seeds=3", *LONG)
    driver = slurm.driver("train", "--group", "students", *settings)
    wait_until(lambda: len(jobs_of(slurm)) == 3, driver, "jobs")
    os.kill(driver.pid, signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert re.search(r"^cancelled 3 Slurm job\(s\) \(\d+, \d+, \d+\)$", output, re.M)
    assert output.splitlines()[-1] == "seqkd train: interrupted; run it again to carry on"
    wait_until_empty(slurm)


def wait_until_empty(slurm: Slurm) -> None:
    deadline = time.monotonic() + 30
    while jobs_of(slurm) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not jobs_of(slurm)


def test_what_slurm_refuses_is_one_sentence(slurm: Slurm, exp: Path, tones: Path) -> None:
    settings = arguments(exp.with_name("refused"), tones, "systems=[student]", "seeds=2")
    for options, said in (
        ("--partition=nowhere", "student seed 0 was refused (sbatch: error: invalid partition specified: nowhere"),
        ("--partition='all", 'SEQKD_SBATCH="--partition=\'all" cannot be read: No closing quotation'),
    ):
        slurm.environment["SEQKD_SBATCH"] = options
        try:
            output, _ = slurm.driver("train", "--group", "students", *settings).communicate(timeout=60)
        finally:
            del slurm.environment["SEQKD_SBATCH"]
        assert output.splitlines()[-1].startswith(f"seqkd train: {said}")
