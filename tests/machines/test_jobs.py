"""Where jobs run and what is said of them: with stand-ins for Slurm's commands."""

from __future__ import annotations

import itertools
import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from seqkd.cli import slurm
from seqkd.cli.job import Job
from seqkd.cli.jobs import Here, at_once, failure, on_slurm, run_jobs
from seqkd.cli.slurm import Slurm, ended_with, filename_pattern, submission
from seqkd.errors import ConfigError, SeqkdError
from seqkd.layout import wait_until_ours
from seqkd.processes import Needs, place, rank

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs called sbatch, squeue and scancel, which say what the test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SEQKD_BACKEND", "slurm")
    monkeypatch.setenv("SEQKD_SLURM_JOB", str(ROOT / "local" / "slurm" / "job.sh"))
    monkeypatch.delenv("SEQKD_SBATCH", raising=False)
    monkeypatch.setattr(Slurm, "pause", 0.01)
    program(folder, "sbatch", 'printf "%s\\0" "$@" >>"$0.said"; echo 7')
    program(folder, "squeue", "echo '7|RUNNING|None'")
    program(folder, "scancel", 'echo "$@" >>"$0.said"')
    return folder


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("a b 'c'", ["train", "$(touch pwned)", "x y", ""], tmp_path / "50% of it" / "log", Needs(2, 4))


def test_a_submission_is_arguments_never_a_line(stand_in: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKD_SBATCH", "--partition='two words' --time=1:00:00")
    program(stand_in, "squeue", "echo '7|COMPLETED|None'")
    run_jobs([job], 1)
    said = (stand_in / "sbatch.said").read_text().split("\0")[:-1]
    script = said.index(str(ROOT / "local" / "slurm" / "job.sh"))
    assert said[: script - 2] == submission(job)
    assert said[script - 2 : script] == ["--partition=two words", "--time=1:00:00"]
    assert said[script + 1 :] == [str(ended_with(job)), *job.command]
    assert {"--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "--requeue"} <= set(said)
    assert f"--output={job.log.parent.parent}/50%% of it/log" in said
    assert not Path("pwned").exists() and not (stand_in / "scancel.said").exists()


@pytest.mark.parametrize(
    ("squeue", "log", "status", "said"),
    [
        (
            "echo '7|FAILED|NonZeroExitCode'",
            "seqkd train: no tokens; make them\nsrun: error: node1\n",
            1,
            "no tokens; ",
        ),
        ("echo '7|FAILED|NonZeroExitCode'", "one\ntwo\n", 137, "failed with status 137; "),
        ("true", "seqkd train: forgotten by Slurm\n", 3, "forgotten by Slurm"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "", 3, "failed with status 3; "),
        ("echo '7|TIMEOUT|TimeLimit'", "", None, "reached its time limit too often; ask for more in SEQKD_SBATCH"),
        ("echo '7|OUT_OF_MEMORY|x'", "", None, "took more memory than it had; ask for more in SEQKD_SBATCH (--mem)"),
        ("echo '7|CANCELLED|None'", "seqkd train: interrupted\n", 1, "was cancelled (log: "),
        ("true", "", None, "has left Slurm's queue (job 7) without saying how it ended (log: "),
    ],
)
def test_what_became_of_a_job(
    stand_in: Path,
    job: Job,
    squeue: str,
    log: str,
    status: int | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slurm, "GRACE", 0.05)
    ended = f"echo {status} >'{ended_with(job)}'" if status is not None else "true"
    program(stand_in, "sbatch", f"printf '{log}' >'{job.log}'; {ended}; echo '7;a_cluster'")
    program(stand_in, "squeue", squeue)
    with pytest.raises(SeqkdError) as caught:
        run_jobs([job], 1)
    assert str(caught.value).startswith((f"{job.name}: {said}", f"{job.name} {said}"))


def test_the_time_that_is_left_is_that_of_later_jobs_too(
    stand_in: Path, job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(stand_in, "squeue", "echo '7|COMPLETED|None'")
    clock = itertools.count(0, 60)
    monkeypatch.setattr("seqkd.cli.jobs.time.monotonic", lambda: next(clock))
    run_jobs([job], 1, later=3)
    done = re.search(r"\(1/1, ([\d.]+) min, about ([\d.]+) left with 3 more after these\)", capsys.readouterr().out)
    assert float(done[2]) == 3 * float(done[1]) > 0


def test_a_silent_controller_is_waited_for(stand_in: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    once = f"[ -e '{stand_in}/asked' ] && echo '7|COMPLETED|None' && exit; touch '{stand_in}/asked'"
    program(stand_in, "squeue", f"{once}; echo 'Unable to contact slurm controller' >&2; exit 1")
    run_jobs([job], 1)
    monkeypatch.setattr(slurm, "PATIENCE", 0.05)
    program(stand_in, "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SeqkdError, match=r"has not answered for 0 minutes \(Unable to contact slurm controller\)"):
        run_jobs([job], 1)
    assert (stand_in / "scancel.said").read_text() == "7\n"


def test_what_jobs_wait_for(stand_in: Path) -> None:
    there = Slurm()
    program(stand_in, "squeue", "printf '7|RUNNING|None\\n8|PENDING|Resources\\n9|PENDING|(a|b)\\n'")
    assert there.look(["7", "8", "9"])
    assert there.news({}) == ["1 running, 2 pending ((a|b) 1, Resources 1)"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SEQKD_BACKEND": "pbs"}, "SEQKD_BACKEND is 'pbs'; expected local or slurm"),
        ({"SEQKD_MAX_JOBS": "many"}, "SEQKD_MAX_JOBS is 'many'; expected how many jobs"),
        ({"SEQKD_MAX_JOBS": "0"}, "SEQKD_MAX_JOBS is '0'; expected how many jobs"),
        ({"SEQKD_SLURM_JOB": "/no/file"}, "SEQKD_SLURM_JOB is '/no/file', which is no file; run '. local/cmd.sh'"),
        ({"PATH": "/no/where"}, "SEQKD_BACKEND is slurm, but there is no sbatch on the PATH"),
    ],
)
def test_a_wrong_site_is_one_sentence(
    stand_in: Path, job: Job, environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        run_jobs([job], at_once(1))
    assert str(caught.value).startswith(said)


def test_a_log_that_slurm_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path with a backslash"):
        filename_pattern(tmp_path / "a\\b")


def test_how_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQKD_BACKEND", raising=False)
    monkeypatch.delenv("SEQKD_MAX_JOBS", raising=False)
    assert not on_slurm() and at_once(3) == 3
    monkeypatch.setenv("SEQKD_BACKEND", "slurm")
    assert at_once(3) == 50


def test_several_nodes_need_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKD_BACKEND", "local")
    with pytest.raises(ConfigError, match="is to run on 2 nodes, but SEQKD_BACKEND=local runs jobs on this machine"):
        run_jobs([Job("mine", ["train"], tmp_path / "log", Needs(nodes=2))], 1)


def test_a_jobs_own_sentence_is_found_under_what_others_say(tmp_path: Path) -> None:
    job = Job("mine", ["train"], tmp_path / "log")
    job.log.write_text("seqkd train: first\nseqkd train: the reason\nsrun: error: node1: task 0: Exited\n  trace\n")
    assert failure(job, 1) == f"mine: the reason (log: {job.log})"


def test_cmd_sh_leaves_what_is_set_and_says_the_rest() -> None:
    script = f'. "{ROOT}/local/cmd.sh" && echo "$SEQKD_BACKEND|$SEQKD_SBATCH|$SEQKD_MAX_JOBS|$SEQKD_SLURM_JOB"'
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SEQKD_")}
    for given, wanted in (
        ({}, f"local||50|{ROOT}/local/slurm/job.sh"),
        ({"SEQKD_BACKEND": "slurm", "SEQKD_SBATCH": "-p x"}, f"slurm|-p x|50|{ROOT}/local/slurm/job.sh"),
    ):
        done = subprocess.run(
            ["bash", "-euc", script], env={**plain, **given}, cwd="/", capture_output=True, text=True, timeout=10
        )
        assert done.stdout == f"{wanted}\n"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, (None, 0)),
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (None, 0)),  # an sbatch script
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, ("srun", 3)),
        # torchrun in a step: it is torchrun's processes that count
        (
            {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "TORCHELASTIC_RUN_ID": "x"}
            | {"RANK": "2", "WORLD_SIZE": "4"},
            ("torchrun", 2),
        ),
        ({"LOCAL_RANK": "1"}, (None, 1)),  # Lightning's own launcher
    ],
)
def test_which_process_this_is(
    environment: dict[str, str], wanted: tuple[str | None, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    here = place()
    assert (here and here.starter, rank()) == wanted


def test_other_processes_wait_for_the_first(tmp_path: Path) -> None:
    from seqkd.errors import DataError

    with pytest.raises(DataError, match="every node must see the experiment directory under the same path"):
        wait_until_ours(tmp_path, {"system": "a"}, seconds=0.2)
    (tmp_path / "config.yaml").write_text("system: a\n")
    wait_until_ours(tmp_path, {"system": "a"}, seconds=0.2)


def test_how_far_local_jobs_are_is_shown_once(tmp_path: Path) -> None:
    here, job = Here(), Job("kd seed 0", ["train"], tmp_path / "log")
    assert here.news({1: job}) == []
    line = "kd/seed0: update 100/400, dev WER 30.00 %, 3.0 min left"
    job.log.write_text(f"resuming\nkd/seed0: update 50/400, 3.5 min left\n{line}\na warning\n")
    assert here.news({1: job}) == [line]
    assert here.news({1: job}) == []


def test_a_job_that_the_system_killed_says_so(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("loading\n")
    job = Job("kd/seed0", ["train"], tmp_path / "log")
    assert failure(job, -signal.SIGKILL) == (
        f"kd/seed0 was killed, most likely for memory; run it again with a lower --nj (log: {tmp_path}/log)"
    )
