"""Which changes to the input leave stored targets valid."""

import pytest

from seqkd.data.specaugment import SpecAugment
from seqkd.errors import ConfigError
from seqkd.knowledge.augmentation import masks, noise, of_specaugment, speed, time_warp
from tests.knowledge.books import posteriors, write


@pytest.mark.parametrize("book", [(), (masks(width=3),)])
@pytest.mark.parametrize("student", [(), (masks(width=20),), (masks(width=3), noise(snr=10))])
def test_masks_and_noise_leave_targets_valid(tmp_path, book, student):
    write(tmp_path / "book", posteriors(2), augmentation=book).require(augmentation=student)


def test_moved_frames_need_the_same_move_in_the_book(tmp_path):
    moves = (masks(width=3), speed(factors=[0.9, 1.0, 1.1]))
    write(tmp_path / "book", posteriors(2), augmentation=moves).require(augmentation=(moves[1], noise(snr=3)))


@pytest.mark.parametrize(
    ("book", "student", "sentence"),
    [
        (
            (),
            (time_warp(frames=5),),
            r"book was made without time-warp and the student is trained with time-warp \(frames 5\), which moves "
            "frames away from their stored targets; turn it off, or make a book that holds it per seed",
        ),
        ((masks(),), (masks(), speed(factors=[0.9])), "was made without speed perturbation and the student is trained"),
        (
            (speed(factors=[0.9]),),
            (speed(factors=[1.1]),),
            r"was made with speed perturbation \(factors \[0.9\]\) and the student is trained with speed perturbation "
            r"\(factors \[1.1\]\); stored targets of moved frames are valid for the very same move only",
        ),
        (
            (speed(factors=[0.9]),),
            (masks(),),
            r"was made with speed perturbation \(factors \[0.9\]\), which moves frames, and the student is trained "
            "without; apply it with the book's seeds",
        ),
    ],
)
def test_an_invalid_pair_is_refused(tmp_path, book, student, sentence):
    with pytest.raises(ConfigError, match=sentence):
        write(tmp_path / "book", posteriors(2), augmentation=book).require(augmentation=student)


def test_what_specaugment_does():
    kept = of_specaugment(SpecAugment(time_width=7))
    assert [t.name for t in kept] == ["masks"] and kept[0].keeps_targets and kept[0].settings["time_width"] == 7
    moved = of_specaugment(SpecAugment(warp=5))
    assert [(t.name, t.keeps_targets) for t in moved] == [("masks", True), ("time-warp", False)]
    assert moved[1].settings == {"frames": 5}
    voices = of_specaugment(SpecAugment(mel_warp=0.05))
    assert [(t.name, t.keeps_targets) for t in voices] == [("masks", True), ("voice", True)]
    assert voices[1].settings == {"mel_warp": 0.05}
    assert of_specaugment(SpecAugment(freq_masks=0, time_masks=0)) == ()
