"""One run in two processes, started through the options that users have: the result is that of one process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.data.sampling import StepSampler
from seqkd.training.checkpoints import resume_points
from tests.machines.same import NO_NOISE, assert_close, assert_same
from tests.runs import arguments, train_here

LENGTH = ("student.training.updates=40", "student.training.validate_every=5")
RUN = ("system=student", "student.training.max_duration=10", *LENGTH, *NO_NOISE)


@pytest.fixture(scope="module")
def two(tones: Path, tone_exp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of ``train --one processes=2``."""
    exp = with_tokens(tone_exp, tmp_path_factory.mktemp("machines") / "two of them")
    done = start("train", "--one", *arguments(exp, tones, *RUN, "processes=2"))
    output, _ = done.communicate(timeout=120)
    assert done.returncode == 0, output
    return exp / "student" / "seed0"


def with_tokens(tone_exp: Path, exp: Path) -> Path:
    shutil.copytree(tone_exp / "tokens", exp / "tokens")
    return exp


def start(*command: str) -> subprocess.Popen[str]:
    return launched([sys.executable, "-m", "seqkd.cli.main", *command])


def launched(command: list[str]) -> subprocess.Popen[str]:
    # A group of its own, so that a test that fails leaves nothing running.
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


class Both:
    """What two processes hear at each update, as the batches of one: an independent account of what they share."""

    def __init__(self, sizes: dict[str, float], *, max_size: float, rank: int, world: int, **rest: object) -> None:
        assert (rank, world) == (0, 1)
        self.halves = [StepSampler(sizes, max_size=max_size / 2, rank=r, world=2, **rest) for r in range(2)]
        self.start = self.halves[0].start

    def __len__(self) -> int:
        return len(self.halves[0])

    def __iter__(self) -> Iterator[list[str]]:
        for one, other in zip(*self.halves, strict=True):
            assert one and other and not set(one) & set(other)
            yield one + other


def test_two_processes_give_what_one_gives(
    two: Path, tones: Path, tone_exp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqkd.tasks.asr.work.StepSampler", Both)
    exp = with_tokens(tone_exp, tmp_path / "exp")
    one = train_here(exp, tones, *(value.removeprefix("system=") for value in RUN))
    assert_close(one, two)
    assert '"device": "2 processes of 1 CPU thread(s)"' in (two / "summary.json").read_text()


@pytest.mark.recipe
def test_two_nodes_started_by_torchrun(two: Path, tones: Path, tone_exp: Path, tmp_path: Path) -> None:
    """Both nodes are this machine; each has a torchrun of its own, and they meet at a port."""
    exp = with_tokens(tone_exp, tmp_path / "exp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
    torchrun += ["-m", "seqkd.cli.main", "train", "--one"]
    nodes = [launched([*torchrun, *arguments(exp, tones, *RUN, "nodes=2")]) for _ in range(2)]
    outputs = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(outputs)
    assert_same(exp / "student" / "seed0", two)


@pytest.mark.recipe
def test_a_killed_process_ends_the_other_and_the_next_run_carries_on(
    two: Path, tones: Path, tone_exp: Path, tmp_path: Path
) -> None:
    exp = with_tokens(tone_exp, tmp_path / "killed")
    options = arguments(exp, tones, *RUN, "processes=2")
    process = start("train", "--one", *options)
    checkpoints, deadline = exp / "student" / "seed0" / "checkpoints", time.monotonic() + 120
    while not resume_points(checkpoints) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and not (exp / "student" / "seed0" / "summary.json").exists()
    assert resume_points(checkpoints)
    again = start("train", "--one", *options)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert "resuming at update" in output
    assert_same(exp / "student" / "seed0", two)


def worker_of(torchrun: int) -> int:
    """The last process that torchrun has started, which is not the one that writes."""
    children = Path(f"/proc/{torchrun}/task").glob("*/children")
    return max(int(pid) for file in children for pid in file.read_text().split())


def test_a_job_of_two_processes_ends_in_its_sentence(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both say it, and torchrun has much to say after that."""
    exp = tmp_path / "no tokenizer here"
    assert main(["train", "--group", "students", *arguments(exp, tones, "systems=[student]", "processes=2")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"seqkd train: student seed 0: {exp}/tokens") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "environment", "said"),
    [
        (["nodes=0"], {}, "setting nodes is 0; expected at least 1"),
        (["processes=0"], {}, "setting processes is 0; expected at least 1"),
        (["nodes=2"], {}, "nodes is 2, but neither torchrun nor srun started this; on every node run: torchrun "),
        (
            ["processes=2"],
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "3"},
            "torchrun started 3 process(es), but nodes=, --ngpu and processes= ask for 1 node(s) × 2 process(es), "
            "2 in all",
        ),
        (
            ["nodes=3"],
            {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"},
            "srun started 2 process(es), but nodes=, --ngpu and processes= ask for 3 node(s) × 1 process(es), 3 in all",
        ),
    ],
)
def test_what_cannot_be_started_is_one_sentence(
    tones: Path,
    tone_exp: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: list[str],
    environment: dict[str, str],
    said: str,
) -> None:
    exp = with_tokens(tone_exp, tmp_path / "exp")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "--one", *arguments(exp, tones, *RUN, *settings)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"seqkd train: {said}") and error.count("\n") == 1
