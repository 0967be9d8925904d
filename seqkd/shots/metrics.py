"""How good is a shot sequence? The measures of deep interactive learning, and what an editor asks beside them.

Every measure is computed from sums over songs: `score_song` counts those of one song, `seqkd.shots.measures` defines
and computes the measures, and `seqkd.statistics.bootstrap` their intervals. Neighbouring shots of one type
count as one shot throughout, since a sequence of classes does not separate them.

The paper (ACM MM 2020, 10.1145/3394171.3413985) names ASC = (N − D − S − I) / N, "TSC-AC" (right trends of shot
change), "DST-AC" (error of shot duration) and "DS" (mean shot length); only the first has a formula here. Chosen:

- ASC counts one-second frames, frame t against frame t, so that D = I = 0 and it is the frame accuracy. ``asc_edit`` is
  the variant in which both sequences are aligned with the fewest edits first; it is never lower.
- TSC-AC: the trend from one frame to the next is one of four: same, closer, wider (by the order of sizes from CU to
  XLS), or a cut to or from a shot without size (ADS, MIS). ``trend_change`` is the variant that only asks whether the
  shot changes.
- DST-AC: for every true shot, the absolute difference in seconds between its length and that of the shot of the
  hypothesis that overlaps it most; the mean over true shots.

Legend: T one-second frames, S = 8 shots, K beats.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from seqkd.errors import DataError
from seqkd.shots.classes import SHOTS, class_number
from seqkd.shots.data import Shot, frame_classes, shots_of
from seqkd.statistics.calibration import bins_by_item

S = len(SHOTS)
LONGEST = 64  # seconds: the last bin of the histograms of shot lengths
NO_BEAT = 0.5  # seconds a cut may be off where there is no beat to measure it by
_LEAST = 1e-12


def score_song(
    reference: Sequence[Shot],
    hypothesis: Sequence[Shot] | ArrayLike,
    *,
    frames: int,
    beats: ArrayLike = (),
    posteriors: ArrayLike | None = None,
    director: ArrayLike | None = None,
) -> dict[str, np.ndarray]:
    """Count one song.

    Args:
        reference: The true shots.
        hypothesis: Shots, or (T,) classes of the one-second frames.
        frames: T.
        beats: (K,) seconds; cuts match within the beat around the true one, or half a second where there is none.
        posteriors: (T, S), for NLL and calibration; rows sum to 1.
        director: (T, S), P(shot | song) of the true director, for KL.

    Returns:
        What one row of the table holds, by column; see `seqkd.shots.measures`.

    Raises:
        DataError: Shapes disagree.
    """
    from rapidfuzz.distance import Levenshtein

    if len(hypothesis) and not isinstance(hypothesis[0], Shot):
        if len(hypothesis) != frames:
            raise DataError(f"The hypothesis has {len(hypothesis)} frames, expected {frames}.")
        hypothesis = shots_of(hypothesis)
    true_list, found_list = _merged(reference), _merged(hypothesis)
    true, found = frame_classes(true_list, frames), frame_classes(found_list, frames)
    kinds = [[shot.kind for shot in shots] for shots in (true_list, found_list)]
    beats = np.asarray(beats, float)
    cuts = [np.array([shot.start for shot in shots[1:]]) for shots in (true_list, found_list)]
    at_beats = [_classes_at(shots, beats) for shots in (true_list, found_list)]
    nll, kl, confidence, right = 0.0, 0.0, np.zeros(0), np.zeros(0)
    if posteriors is not None:
        posteriors = _distributions(posteriors, frames, "posteriors")
        confidence, right = posteriors.max(axis=1), posteriors.argmax(axis=1) == true
        nll = float(-np.log(np.maximum(posteriors[np.arange(frames), true], _LEAST)).sum())
        if director is not None:
            p = _distributions(director, frames, "the director's distributions")
            kl = float((p * (np.log(np.maximum(p, _LEAST)) - np.log(np.maximum(posteriors, _LEAST)))).sum())
    trends = [_trends(classes) for classes in (true, found)]
    counted = {
        "frames": frames,
        "frames_right": (true == found).sum(),
        "frame_edits": Levenshtein.distance(true.tolist(), found.tolist()),
        "trends": frames - 1,
        "trends_right": (trends[0] == trends[1]).sum(),
        "changes_right": ((np.diff(true) != 0) == (np.diff(found) != 0)).sum(),
        "duration_error": _duration_error(true_list, found_list),
        "seconds": found_list[-1].end - found_list[0].start,
        "shots": [len(true_list), len(found_list)],
        "segment_edits": Levenshtein.distance(*kinds),
        "beats": len(beats),
        "beats_right": (at_beats[0] == at_beats[1]).sum(),
        "cuts": [len(cuts[0]), len(cuts[1]), match_cuts(cuts[0], cuts[1], beats)],
        "classes": [np.bincount(x, minlength=S) for x in (true[true == found], found, true)],
        "transitions": [_transitions(true), _transitions(found)],
        "lengths": [_lengths(true_list), _lengths(found_list)],
        "scored": len(confidence),
        "nll": nll,
        "directed": 0 if posteriors is None or director is None else frames,
        "kl": kl,
        "bins": bins_by_item(confidence, right, [len(confidence)])[0],
    }
    return {name: np.asarray(value, float) for name, value in counted.items()}


def match_cuts(reference: ArrayLike, hypothesis: ArrayLike, beats: ArrayLike = ()) -> int:
    """How many true cuts can be given a cut of the hypothesis of their own within one beat.

    The beat is the interval between beats that the true cut is in; outside of the beats it is half a second. The
    matching is the greatest: each cut of the hypothesis goes to the true cut in reach whose reach ends first.
    """
    reference, hypothesis, beats = (np.sort(np.asarray(times, float)) for times in (reference, hypothesis, beats))
    reach = np.full(len(reference), NO_BEAT)
    if len(beats) > 1:
        place = np.searchsorted(beats, reference + 1e-6, side="right") - 1
        inside = (place >= 0) & (place < len(beats) - 1)
        reach[inside] = np.diff(beats)[place[inside]]
    waiting = list(zip(reference + reach + 1e-6, reference - reach - 1e-6, strict=True))
    matched = 0
    for cut in hypothesis:
        candidates = [pair for pair in waiting if pair[1] <= cut <= pair[0]]
        if candidates:
            waiting.remove(min(candidates))
            matched += 1
    return matched


def _merged(shots: Sequence[Shot]) -> list[Shot]:
    if not len(shots):
        raise DataError("A shot list is empty; expected at least one shot.")
    merged = [shots[0]]
    for shot in shots[1:]:
        if shot.kind == merged[-1].kind:
            merged[-1] = Shot(merged[-1].start, shot.end, shot.kind)
        else:
            merged.append(shot)
    return merged


def _classes_at(shots: Sequence[Shot], times: np.ndarray) -> np.ndarray:
    starts = np.array([shot.start for shot in shots])
    numbers = np.array([class_number(shot.kind) for shot in shots])
    # A cut that is meant to be on the beat may be a rounding error after it.
    return numbers[np.clip(np.searchsorted(starts, times + 1e-3, side="right") - 1, 0, len(shots) - 1)]


def _trends(classes: np.ndarray) -> np.ndarray:
    """(T - 1,): 0 same, 1 wider, -1 closer, 2 to or from a shot without size."""
    before, after = classes[:-1], classes[1:]
    sized = (before < 6) & (after < 6)
    return np.where(before == after, 0, np.where(sized, np.sign(after - before), 2))


def _transitions(classes: np.ndarray) -> np.ndarray:
    table = np.zeros((S, S))
    np.add.at(table, (classes[:-1], classes[1:]), 1)
    return table


def _lengths(shots: Sequence[Shot]) -> np.ndarray:
    seconds = np.array([max(1, round(shot.end - shot.start)) for shot in shots])
    return np.bincount(np.minimum(seconds, LONGEST) - 1, minlength=LONGEST).astype(float)


def _duration_error(true: Sequence[Shot], found: Sequence[Shot]) -> float:
    error = 0.0
    for shot in true:
        most = max(found, key=lambda other: min(shot.end, other.end) - max(shot.start, other.start))
        error += abs((shot.end - shot.start) - (most.end - most.start))
    return error


def _distributions(values: ArrayLike, frames: int, what: str) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != (frames, S):
        raise DataError(f"There are {what} of shape {values.shape}; expected ({frames}, {S}).")
    if not (values >= 0).all() or not np.allclose(values.sum(axis=1), 1, atol=1e-3):
        raise DataError(f"A row of {what} is not a distribution: expected probabilities that sum to 1.")
    return values
