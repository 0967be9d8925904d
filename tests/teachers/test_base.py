from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from seqkd.data.features import FeatureSettings
from seqkd.errors import ConfigError
from seqkd.teachers import align_frames, check_compatible

FEATURES = FeatureSettings(num_mel_bins=40)
AGREED = {"classes": 5, "frame_shift_ms": 40.0, "tokenizer_hash": "abc", "features": FEATURES}


def test_agreement_is_silent() -> None:
    check_compatible(SimpleNamespace(**AGREED), **AGREED)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            {"classes": 9},
            "the teacher has 9 output classes and the student 5; frame-level distillation needs one tokenizer for both",
        ),
        (
            {"tokenizer_hash": "xyz"},
            "teacher and student both have 5 classes but different tokenizers (xyz and abc); "
            "train both with one tokens.directory",
        ),
        (
            {"frame_shift_ms": 20.0},
            "the teacher has a frame every 20 ms and the student every 40 ms; "
            "choose encoders with the same subsampling",
        ),
        (
            {"features": FeatureSettings(num_mel_bins=80)},
            f"the teacher was trained on {FeatureSettings(num_mel_bins=80)} and the student takes {FEATURES}; "
            "set features= to what the teacher was trained on",
        ),
    ],
)
def test_mismatch_names_both_sides(theirs: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_compatible(SimpleNamespace(**AGREED | theirs), **AGREED)
    assert str(caught.value) == message


def numbered(frames: int, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, T', 1) whose value is the frame's number, -1 in padding."""
    rows = [[float(t) if t < length else -1.0 for t in range(frames)] for length in lengths]
    return torch.tensor(rows)[..., None], torch.tensor(lengths)


def test_equal_clocks_pass_through() -> None:
    logits, lengths = numbered(4, 4, 3)
    aligned, off = align_frames(logits, lengths, 4, torch.tensor([4, 3]))
    assert aligned is logits
    assert off == 0


def test_one_frame_too_many_is_cut_and_counted() -> None:
    logits, lengths = numbered(5, 5, 4, 3)
    aligned, off = align_frames(logits, lengths, 4, torch.tensor([4, 4, 2]))
    assert aligned.shape == (3, 4, 1)
    assert off == 2
    assert aligned[0, :4, 0].tolist() == [0, 1, 2, 3]
    assert aligned[1, :4, 0].tolist() == [0, 1, 2, 3]
    assert aligned[2, :2, 0].tolist() == [0, 1]


def test_one_frame_too_few_is_filled_and_counted() -> None:
    logits, lengths = numbered(4, 4, 2, 3)
    before = logits.clone()
    aligned, off = align_frames(logits, lengths, 5, torch.tensor([5, 3, 3]))
    assert aligned.shape == (3, 5, 1)
    assert off == 2
    assert aligned[0, :5, 0].tolist() == [0, 1, 2, 3, 3]
    assert aligned[1, :3, 0].tolist() == [0, 1, 1]
    assert aligned[2, :3, 0].tolist() == [0, 1, 2]
    same_width, _ = align_frames(logits, lengths, 4, torch.tensor([4, 3, 3]))
    assert same_width[1, :3, 0].tolist() == [0, 1, 1]
    assert logits.equal(before)  # a teacher may hand out what it keeps


def test_padding_alone_may_differ_by_any_width() -> None:
    logits, lengths = numbered(9, 4, 3)
    aligned, off = align_frames(logits, lengths, 4, lengths)
    assert (aligned.shape[1], off) == (4, 0)
    assert aligned[0, :, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("theirs", "ours"), [(6, 4), (4, 6)])
def test_two_frames_are_different_clocks(theirs: int, ours: int) -> None:
    logits, lengths = numbered(6, 4, theirs)
    with pytest.raises(ConfigError) as caught:
        align_frames(logits, lengths, 6, torch.tensor([4, ours]))
    assert str(caught.value) == (
        f"the teacher gives {theirs} frames and the student {ours} for one utterance (row 1 of the batch); "
        "a difference of at most 1 can be aligned"
    )
