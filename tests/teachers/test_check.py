from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from seqkd.data.batches import load_corpus
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.run import decode
from seqkd.errors import ConfigError
from seqkd.models.ctc import load_model
from seqkd.scoring.wer import score
from seqkd.teachers.check import WIDEST_OFFSET, check_teacher, spike_offsets
from seqkd.teachers.checkpoint import CheckpointTeacher
from tests.runs import settings


@pytest.mark.parametrize(
    ("teacher", "student", "offsets", "unmatched"),
    [
        ([0, 1, 0, 2, 0], [0, 1, 0, 2, 0], [0, 0], 0),
        ([0, 1, 0, 2, 0], [0, 0, 1, 0, 2], [1, 1], 0),
        ([0, 1, 0, 2, 0], [1, 0, 2, 0, 0], [-1, -1], 0),
        ([0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [1], 0),  # a spike is where a run begins
        ([1, 1, 0, 1, 2], [1, 0, 0, 1, 2], [0, 0, 0], 0),  # a blank between makes two spikes of one unit
        ([0, 1, 0, 2, 0], [0, 3, 0, 2, 0], [0], 1),  # another unit does not match
        ([0, 0, 0], [1, 2, 3], [], 0),
        ([1, 2, 3], [0, 0, 0], [], 3),
        ([1] + 9 * [0], 6 * [0] + [1] + 3 * [0], [6], 0),
        ([1] + 9 * [0], 7 * [0] + [1] + 2 * [0], [], 1),  # further than WIDEST_OFFSET
        ([0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0, 0], [1], 0),  # the nearest counts
    ],
)
def test_spike_offsets_by_hand(teacher: list, student: list, offsets: list, unmatched: int) -> None:
    assert WIDEST_OFFSET == 6
    assert spike_offsets(torch.tensor(teacher), torch.tensor(student), 0) == (offsets, unmatched)


@pytest.fixture
def exp(tone_exp: Path, tmp_path: Path) -> Path:
    shutil.copytree(tone_exp, tmp_path / "exp")
    return tmp_path / "exp"


def test_check_writes_numbers_and_a_figure(tones: Path, exp: Path) -> None:
    printed = check_teacher(settings(exp, tones))
    found = json.loads((exp / "teacher" / "check.json").read_text())
    assert (exp / "teacher" / "check.png").read_bytes().startswith(b"\x89PNG")
    assert "spike offsets: to compare with a student's spikes, train one" in printed
    assert "spike_offsets" not in found

    # The same numbers, the long way.
    model_dir = exp / "teacher" / "seed0" / "model"
    tokenizer = load_model(model_dir)[1]
    corpus = load_corpus(tones, ["dev"], tokenizer)
    teacher = CheckpointTeacher.from_directory(model_dir)
    entropies, blanks = [], []
    for utterance in corpus.transcripts:
        features = corpus.store[utterance]
        logits, _ = teacher.logits(features[None], torch.tensor([len(features)]))
        p = logits[0].softmax(-1)
        entropies += (-(p * p.log()).sum(-1)).tolist()
        blanks += (p.argmax(-1) == 0).tolist()
    wer = score(corpus.transcripts, decode(model_dir, tones, "dev", 1, 400.0, False)).wer.rate
    assert found["dev_wer"] == pytest.approx(wer, abs=1e-4)
    assert found["classes"] == len(tokenizer)
    assert found["tokenizer"] == Tokenizer.load(exp / "tokens").hash
    assert found["frame_shift_ms"] == 40.0
    assert found["blank_share"] == pytest.approx(sum(blanks) / len(blanks), abs=1e-3)
    assert found["entropy_nats_a_frame"] == pytest.approx(sum(entropies) / len(entropies), abs=1e-3)
    assert 0 < found["entropy_nats_a_frame"] < math.log(len(tokenizer))


def test_with_a_reference_student_offsets_are_counted(tones: Path, exp: Path) -> None:
    shutil.copytree(exp / "teacher" / "seed0", exp / "student" / "seed0")  # itself: every spike on its frame
    # A barely trained teacher may have no spikes at all; make blank less likely for both.
    for run in ("teacher", "student"):
        favour_units(exp / run / "seed0" / "model")
    printed = check_teacher(settings(exp, tones))
    found = json.loads((exp / "teacher" / "check.json").read_text())
    assert found["blank_share"] < 1
    assert found["spike_offsets"].keys() == {"0"}
    assert found["spike_offsets"]["0"] > 0
    assert found["spikes_on_the_same_frame"] == 1.0
    assert found["spikes_without_a_student_spike_nearby"] == 0.0
    assert "train one" not in printed


def favour_units(directory: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    weights["head.bias"][0] -= 20.0
    save_file(weights, directory / "model.safetensors")


def test_check_refuses_another_vocabulary(tones: Path, exp: Path) -> None:
    from seqkd.tasks.asr import make_tokens

    cfg = settings(exp, tones, "tokens.type=char", "teacher.import_from=" + str(exp / "teacher" / "seed0" / "model"))
    cfg.tokens.directory = str(exp / "other_tokens")
    make_tokens(cfg)
    with pytest.raises(ConfigError, match=r"the teacher has 6 output classes and the student 11; .* one tokenizer"):
        check_teacher(cfg)
    assert not (exp / "teacher" / "check.json").exists()
