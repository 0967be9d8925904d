from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import ConfigError
from seqkd.teachers.external.rates import AtRate, to_rate
from seqkd.teachers.external.vocabulary import FLOOR


def path(*units: int, classes: int = 4, sure: float = 0.9) -> torch.Tensor:
    """Posteriors (T, C) whose best class is the given one at each frame."""
    probs = torch.full((len(units), classes), (1 - sure) / (classes - 1))
    probs[range(len(units)), units] = sure
    return probs.log()


def rated(
    log_probs: torch.Tensor, frames: int, rule: str = "spike", theirs: float = 20.0, ours: float = 40.0
) -> AtRate:
    return to_rate(log_probs, teacher_shift_ms=theirs, student_shift_ms=ours, frames=frames, rule=rule)


@pytest.mark.parametrize("offset", range(8))
def test_a_spike_survives_at_every_offset(offset: int) -> None:
    units = [0] * 8
    units[offset] = 2
    log_probs = path(*units)
    found = rated(log_probs, 4)
    assert found.lost == 0
    assert found.log_probs.argmax(-1).tolist() == [2 if t == offset // 2 else 0 for t in range(4)]
    assert torch.equal(found.log_probs[offset // 2], log_probs[offset])  # with all of its probability


@pytest.mark.parametrize("offset", range(8))
def test_a_spike_is_halved_by_the_mean_but_its_mass_stays(offset: int) -> None:
    units = [0] * 8
    units[offset] = 2
    found = rated(path(*units), 4, "mean")
    assert float(found.log_probs.exp()[offset // 2, 2]) == pytest.approx((0.9 + 0.1 / 3) / 2)
    assert float(2 * found.log_probs.exp()[:, 2].sum()) == pytest.approx(float(path(*units).exp()[:, 2].sum()))
    # .4667 of the spike and .4667 of the blank: which of the two is best is left to rounding
    assert rated(path(*units, sure=0.6), 4, "mean").log_probs.exp()[offset // 2].tolist() == pytest.approx(
        [(0.6 + 0.4 / 3) / 2, 0.4 / 3, (0.6 + 0.4 / 3) / 2, 0.4 / 3]
    )


def test_the_mean_sinks_a_lone_spike_among_three() -> None:
    found = rated(path(0, 2, 0, 0, 0, 0), 2, "mean", ours=60.0)
    assert found.log_probs.argmax(-1).tolist() == [0, 0]
    assert found.lost == 1


@pytest.mark.parametrize("offset", range(8))
def test_pick_keeps_spikes_at_the_middle_only(offset: int) -> None:
    units = [0] * 8
    units[offset] = 2
    found = rated(path(*units), 4, "pick")
    assert found.lost == (offset % 2 == 0)
    assert torch.equal(found.log_probs, path(*units)[1::2])


def test_spikes_that_share_a_frame_are_counted() -> None:
    assert rated(path(1, 2, 0, 3), 2).lost == 1
    assert rated(path(1, 0, 1, 0), 2).lost == 1  # the blank between two of a kind is gone
    assert rated(path(1, 0, 0, 1), 2).lost == 1
    assert rated(path(1, 1, 2, 2), 2).lost == 0


def test_the_first_of_equals_is_taken() -> None:
    assert rated(path(1, 2, 3, 3), 2).log_probs.argmax(-1).tolist() == [1, 3]


def test_equal_rates_change_nothing() -> None:
    log_probs = path(0, 1, 0, 2, 3)
    for rule in ("spike", "mean", "pick"):
        assert torch.allclose(rated(log_probs, 5, rule, ours=20.0).log_probs, log_probs, atol=1e-6)


def test_a_slower_teacher_is_repeated() -> None:
    for rule in ("spike", "mean", "pick"):
        found = rated(path(1, 0, 2), 6, rule, theirs=80.0)
        assert found.log_probs.argmax(-1).tolist() == [1, 1, 0, 0, 2, 2]
        assert found.lost == 0
    found = rated(path(1, 0, 2, 0), 6, theirs=60.0)
    assert found.log_probs.argmax(-1).tolist() == [1, 0, 0, 2, 0, 0]  # middles 20, 60, 100, 140, ... of 60 ms frames


def test_a_teacher_that_ends_early_is_blank_there() -> None:
    found = rated(path(1, 0, 2, 0), 5)
    assert found.log_probs.argmax(-1).tolist() == [1, 2, 0, 0, 0]
    assert found.log_probs[3].tolist() == [0.0, FLOOR, FLOOR, FLOOR]
    assert rated(path(0, 1), 3, theirs=40.0).log_probs.argmax(-1).tolist() == [0, 1, 0]


def test_a_spike_after_the_students_end_falls_on_its_last_frame() -> None:
    found = rated(path(0, 0, 0, 0, 0, 0, 3), 2)
    assert found.log_probs.argmax(-1).tolist() == [0, 3]
    assert found.lost == 0


@pytest.mark.parametrize("frames", [0, 1])
def test_hardly_any_frames(frames: int) -> None:
    assert rated(path(), frames).log_probs.tolist() == [[0.0, FLOOR, FLOOR, FLOOR]] * frames
    assert rated(path(1), frames).lost == 1 - frames


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(20, 40), (20, 30), (10, 40), (12.5, 40), (40, 40), (80, 40), (32, 40), (20, 60)]),
    st.integers(1, 30),
    st.sampled_from(["spike", "mean"]),
)
def test_against_a_loop_over_frames(seed: int, shifts: tuple[float, float], frames: int, rule: str) -> None:
    theirs, ours = shifts
    teacher = max(1, round(frames * ours / theirs))
    log_probs = (4 * torch.randn(teacher, 5, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)
    found = rated(log_probs, frames, rule, theirs, ours).log_probs
    assert torch.allclose(found.exp().sum(-1), torch.ones(frames), atol=1e-5)
    for t in range(frames):
        if theirs > ours:
            middle = (t + 0.5) * ours
            rows = [u for u in range(teacher) if u * theirs <= middle < (u + 1) * theirs]
        else:
            end = math.inf if t == frames - 1 else (t + 1) * ours
            rows = [u for u in range(teacher) if t * ours <= (u + 0.5) * theirs < end]
        if not rows:
            expected = torch.full((5,), FLOOR)
            expected[0] = 0.0
        elif rule == "spike":
            expected = log_probs[min(rows, key=lambda u: float(log_probs[u, 0]))]
        else:
            expected = log_probs[rows].exp().mean(0).log()
        assert torch.allclose(found[t], expected, atol=1e-5)


@pytest.mark.parametrize("shifts", [(20, 30), (10, 39), (12, 22), (70, 60), (90, 60)])
def test_rounding_moves_no_frame_of_a_long_utterance(shifts: tuple[int, int]) -> None:
    theirs, ours = shifts
    teacher, frames = 60 * ours, 60 * theirs
    log_probs = torch.zeros(teacher, 2)
    log_probs[:, 1] = torch.arange(teacher) - 1e5  # each frame has its number
    log_probs[:, 0] = -log_probs[:, 1]
    found = rated(log_probs, frames, theirs=theirs, ours=ours).log_probs[:, 1] + 1e5
    if theirs > ours:
        expected = [(2 * t + 1) * ours // (2 * theirs) for t in range(frames)]
    else:  # the last of those under it, which has the least blank
        under = {(2 * u + 1) * theirs // (2 * ours): u for u in range(teacher)}
        expected = [under[t] for t in range(frames)]
    assert found.tolist() == expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_lost_is_the_difference_of_the_transcripts(units: list[int]) -> None:
    def collapsed(best: list[int]) -> list[int]:
        return [u for t, u in enumerate(best) if u and (t == 0 or best[t - 1] != u)]

    found = rated(path(*units), math.ceil(len(units) / 2))
    kept = collapsed(found.log_probs.argmax(-1).tolist())
    assert found.lost == len(collapsed(units)) - len(kept)
    remaining = iter(collapsed(units))
    assert all(unit in remaining for unit in kept)  # in the same order


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "max"}, "the rule for frame rates is 'max'; expected one of spike, mean, pick"),
        ({"teacher_shift_ms": 0.0}, "the teacher's frame shift is 0.0 ms; expected more than 0"),
        ({"student_shift_ms": math.nan}, "the student's frame shift is nan ms; expected more than 0"),
        (
            {"frames": 9},
            "the teacher gives 10 frames of 20 ms (0.20 s) and the student 9 of 40 ms (0.36 s) for one utterance; they "
            "may differ by 3 frames of the slower, check the teacher's frame shift",
        ),
        (
            {"frames": 1},
            "the teacher gives 10 frames of 20 ms (0.20 s) and the student 1 of 40 ms (0.04 s) for one utterance; they "
            "may differ by 3 frames of the slower, check the teacher's frame shift",
        ),
    ],
)
def test_rates_that_cannot_be(change: dict, message: str) -> None:
    arguments = {"teacher_shift_ms": 20.0, "student_shift_ms": 40.0, "frames": 5} | change
    with pytest.raises(ConfigError) as caught:
        to_rate(path(*[0] * 10), **arguments)
    assert str(caught.value) == message


def test_the_utterance_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\(0.04 s\) for utterance 'u7'; they may differ by 3 frames"):
        to_rate(path(*[0] * 10), teacher_shift_ms=20.0, student_shift_ms=40.0, frames=1, utterance="u7")


@pytest.mark.parametrize("frames", [2, 8])
def test_three_frames_are_allowed(frames: int) -> None:
    assert len(rated(path(*[0] * 10), frames).log_probs) == frames
