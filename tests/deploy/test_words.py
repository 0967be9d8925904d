"""Word times and confidences on logits and sounds that were made for it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.deploy.boundaries import PAUSE, SMOOTH, Sound, widen
from seqkd.deploy.words import FrameTimes, Word, timed_words, unit_spans

UNITS = ["<blank>", "<unk>", "▁", "a", "b", "▁c", "d"]
TIMES = FrameTimes(shift=0.04, centre=0.005)


def decode(tokens: Sequence[int]) -> str:
    """As sentencepiece does."""
    return "".join(UNITS[token] for token in tokens).replace("▁", " ").removeprefix(" ")


def logits_of(path: Sequence[int], probability: float = 0.9) -> torch.Tensor:
    """(T', C) of which ``path`` is the best class of each frame, with this probability."""
    rest = (1 - probability) / (len(UNITS) - 1)
    logits = torch.full((len(path), len(UNITS)), math.log(rest))
    logits[torch.arange(len(path)), torch.tensor(path)] = math.log(probability)
    return logits


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_unit_spans_by_grouping(path: list[int]) -> None:
    expected, at = [], 0
    for label, group in itertools.groupby(path):
        size = len(list(group))
        if label:
            expected.append((at, at + size))
        at += size
    assert unit_spans(torch.tensor(path)) == expected


def test_words_last_from_their_first_unit_to_their_last() -> None:
    #       0  1  2  3  4  5  6  7  8  9 10 11 12
    path = [0, 3, 3, 0, 4, 2, 2, 0, 3, 0, 5, 6, 0]
    words = timed_words(logits_of(path), [3, 4, 2, 3, 5, 6], decode, TIMES)
    assert [w.text for w in words] == ["ab", "a", "cd"]
    # A frame is centred 5 ms after each multiple of 40 ms; the boundary "▁" in frames 5 and 6 is part of no word.
    for word, (first, end) in zip(words, [(1, 5), (8, 9), (10, 12)], strict=True):
        assert word.start == pytest.approx(0.04 * first - 0.015)
        assert word.end == pytest.approx(0.04 * end - 0.015)
    # A word is as sure as the product of its units; the boundary counts for the word before it.
    assert [w.confidence for w in words] == pytest.approx([0.9**3, 0.9, 0.9**2], rel=1e-5)


def test_the_first_frame_begins_at_0() -> None:
    (word,) = timed_words(logits_of([3, 0]), [3], decode, TIMES)
    assert (word.start, word.end) == (0.0, pytest.approx(0.025))


def test_nothing_was_said() -> None:
    assert timed_words(logits_of([0, 0]), [], decode, TIMES) == []
    assert widen([], Sound(np.zeros(5), 0.01)) == []


SHIFT = 0.01


def sound(*parts: tuple[float, float]) -> Sound:
    """Parts of some seconds and some level."""
    return Sound(np.concatenate([np.full(round(time / SHIFT), level, dtype=float) for time, level in parts]), SHIFT)


def spoken(*times: tuple[float, float]) -> list[Word]:
    return [Word(f"w{number}", start, end, 1.0) for number, (start, end) in enumerate(times)]


def found(words: list[Word]) -> list[tuple[float, float]]:
    return [(round(w.start, 3), round(w.end, 3)) for w in words]


def test_words_reach_to_the_pauses() -> None:
    around = sound((0.3, 0), (0.5, 9), (0.4, 0), (0.6, 10), (0.2, 0))
    words = spoken((0.5, 0.54), (1.5, 1.58))
    assert found(widen(words, around)) == [(0.3, 0.8), (1.2, 1.8)]


def test_without_a_pause_words_meet_where_it_is_quietest() -> None:
    around = sound((0.5, 9), (0.05, 7), (0.3, 9), (0.1, 0), (0.01, -1), (0.04, 0), (0.3, 9), (0.5, 0))
    assert found(widen(spoken((0.2, 0.24), (0.7, 0.74), (1.2, 1.24)), around)) == [
        (0.0, 0.505), (0.505, 0.955), (0.955, 1.3),
    ]  # fmt: skip


def test_a_short_silence_is_a_pause_only_at_an_edge() -> None:
    short = PAUSE / 2
    around = sound((short, 0), (0.5, 9), (short, 0), (0.5, 9), (short, 0))
    (first, second) = found(widen(spoken((0.3, 0.34), (0.9, 0.94)), around))
    assert first[0] == short
    assert first[1] == second[0]
    assert second[1] == pytest.approx(short * 2 + 1)


def test_a_word_in_silence_stays_as_it_is() -> None:
    around = sound((1.0, 0), (0.3, 9), (1.0, 0))
    assert found(widen(spoken((0.5, 0.54)), around)) == [(0.5, 0.54)]


def test_level_is_the_smoothed_power_of_all_bins() -> None:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    power = features.double().exp().sum(1)
    level = Sound.of(features, SHIFT).level
    assert len(level) == 40
    half = SMOOTH // 2
    for frame in range(half, 40 - half):
        window = power[frame - half : frame + half + 1]
        assert level[frame] == pytest.approx(window.mean().log().item())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_words_stay_in_order_apart_and_get_no_shorter(data: st.DataObject) -> None:
    frames = data.draw(st.integers(4, 200))
    level = np.array(data.draw(st.lists(st.floats(-20, 20), min_size=frames, max_size=frames)))
    edges = sorted(data.draw(st.lists(st.integers(0, frames), min_size=2, max_size=12)))
    times = [(a * SHIFT, b * SHIFT) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    words = spoken(*times)
    wider = widen(words, Sound(level, SHIFT))
    assert [w.text for w in wider] == [w.text for w in words]
    for before, after in zip(words, wider, strict=True):
        assert after.start <= before.start + 1e-9
        assert after.end >= before.end - 1e-9
    for left, right in itertools.pairwise(wider):
        assert left.end <= right.start + 1e-9
    assert wider[0].start >= 0
    assert wider[-1].end <= frames * SHIFT + 1e-9
