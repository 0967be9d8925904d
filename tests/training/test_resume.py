"""kill -9 in mid-epoch, run again: the weights equal an uninterrupted run's, bit for bit."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from seqkd.teachers.making import make
from seqkd.training.checkpoints import newest_resume_point, resume_points
from tests.runs import settings, train_here, train_process

UPDATES = ("student.training.updates=160", "student.training.validate_every=10")
SYSTEM = ("cons_kd_unlabelled", *UPDATES, "book=dense", "book.seeds=3")


def prepared(tone_exp: Path, exp: Path, tones: Path) -> Path:
    """A copy of the shared experiment directory: same tokenizer, same teacher, and its book."""
    shutil.copytree(tone_exp, exp)
    cfg = settings(exp, tones, f"system={SYSTEM[0]}", *SYSTEM[1:])
    make(cfg, [cfg])
    return exp


@pytest.mark.timeout(170)
def test_kill_and_resume_is_bit_for_bit(tones: Path, tone_exp: Path, tmp_path: Path) -> None:
    whole = train_here(prepared(tone_exp, tmp_path / "whole", tones), tones, *SYSTEM)
    killed = prepared(tone_exp, tmp_path / "killed", tones) / "cons_kd_unlabelled" / "seed0"
    kills = 0
    for wanted in (20, 80):
        process = train_process(tmp_path / "killed", tones, *SYSTEM)
        while process.poll() is None:
            points = resume_points(killed / "checkpoints")
            if points and int(points[-1].stem.split("=")[1]) >= wanted:
                time.sleep(0.05)  # into the updates after the resume point
                process.kill()
                kills += 1
                break
            time.sleep(0.005)
        process.communicate()
        assert not (killed / "summary.json").exists(), "the run ended before it could be killed"
    assert kills == 2
    train_here(tmp_path / "killed", tones, *SYSTEM)
    expected, got = (load_file(run / "model" / "model.safetensors") for run in (whole, killed))
    assert expected.keys() == got.keys()
    assert all(expected[name].equal(got[name]) for name in expected)
    rows = [json.loads((run / "history.json").read_text())["rows"] for run in (whole, killed)]
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in history] for history in rows]
    assert timeless[0] == timeless[1]
    assert [row["step"] for row in rows[0]] == list(range(10, 161, 10))


def test_a_damaged_resume_point_is_passed_over(tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": {}}, tmp_path / "resume-step=10.ckpt")
    (tmp_path / "resume-step=20.ckpt").write_bytes((tmp_path / "resume-step=10.ckpt").read_bytes()[:-40])
    assert newest_resume_point(tmp_path) == tmp_path / "resume-step=10.ckpt"
    assert not (tmp_path / "resume-step=20.ckpt").exists()


def test_a_finished_run_is_skipped_and_a_changed_one_trained_anew(tones: Path, tone_exp: Path, tmp_path: Path) -> None:
    exp = prepared(tone_exp, tmp_path / "exp", tones)
    run = train_here(exp, tones, "student")
    stamp = (run / "model" / "model.safetensors").stat().st_mtime_ns
    train_here(exp, tones, "student")
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == stamp
    train_here(exp, tones, "student", "student.training.lr=1e-3")
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns != stamp
