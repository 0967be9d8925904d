"""What sequences of shots are measured by, as functions of sums over songs; `seqkd.shots.metrics` counts and defines.

Columns of the table; where no shape is given, (N,):

- ``frames`` of one second, ``frames_right``, and ``frame_edits`` between both sequences of frames;
- ``trends``, pairs of neighbouring frames; ``trends_right``, those with the right one of four trends;
  ``changes_right``, those in which both or neither change the shot;
- ``duration_error``, seconds, over true shots; ``seconds``, length of the hypothesis;
- ``shots`` (N, 2), of the reference and of the hypothesis; ``segment_edits`` between both, whatever their lengths;
- ``beats`` at which both were compared, ``beats_right`` at which both show the same;
- ``cuts`` (N, 3), of the reference, of the hypothesis, and those matched;
- ``classes`` (N, 3, S), frames right, of the hypothesis, and of the reference, by class;
- ``transitions`` (N, 2, S, S), of the reference and of the hypothesis, from frame to frame;
- ``lengths`` (N, 2, 64), shots of both by length in seconds, rounded, from 1 on; the last bin holds all longer ones;
- ``scored`` frames with posteriors, their ``nll`` in nats, and ``bins`` (N, 3, M + 1), see `seqkd.statistics.measures`;
- ``directed`` frames with posteriors and a known director, and their ``kl`` from the director's to the posteriors.

Legend: N songs, S = 8 shots, M = 15 bins of confidence; ``...`` any leading dimensions, such as draws of songs.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from seqkd.statistics.measures import Measure, ece, ratio
from seqkd.statistics.table import Sums

_SMOOTHING = 0.5  # added to every count of a transition, so that none is impossible


def _macro_f1(classes: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur in either sequence."""
    right, found, true = (classes[..., row, :] for row in range(3))
    there = (found + true) > 0
    scores = np.where(there, 2 * right / np.maximum(found + true, 1), 0)
    return ratio(scores.sum(axis=-1), there.sum(axis=-1))


def _cut_f1(cuts: np.ndarray) -> np.ndarray:
    """F1 of cuts within a beat; 1 where neither sequence has any."""
    true, found, matched = (cuts[..., column] for column in range(3))
    return np.where(true + found > 0, ratio(2 * matched, true + found), 1.0)


def _transition_kl(tables: np.ndarray) -> np.ndarray:
    """Σ_i π_i KL(P_i ‖ Q_i): rows of transitions, each count plus ½, weighted by how often the reference leaves i."""
    rows = tables + _SMOOTHING
    p, q = (side / side.sum(axis=-1, keepdims=True) for side in (rows[..., 0, :, :], rows[..., 1, :, :]))
    weight = tables[..., 0, :, :].sum(axis=-1)  # (..., S)
    divergence = (p * np.log(p / q)).sum(axis=-1)  # (..., S)
    return ratio((weight * divergence).sum(axis=-1), weight.sum(axis=-1))


def _length_distance(lengths: np.ndarray) -> np.ndarray:
    """Wasserstein distance between both distributions of shot lengths, in seconds."""
    shares = lengths / np.maximum(lengths.sum(axis=-1, keepdims=True), 1)
    return np.abs(np.cumsum(shares[..., 0, :] - shares[..., 1, :], axis=-1)).sum(axis=-1)


def _by_shot(part: np.ndarray, shots: np.ndarray, *, side: int) -> np.ndarray:
    """Return what there is a shot of the reference, side 0, or of the hypothesis, side 1."""
    return ratio(part, shots[..., side])


def _unmatched(edits: np.ndarray, frames: np.ndarray) -> np.ndarray:
    return 1 - ratio(edits, frames)


_share = partial(Measure, of=ratio, unit="%", scale=100, higher_is_better=True)
_of_reference, _of_hypothesis = (partial(_by_shot, side=side) for side in range(2))

ASC = _share("asc", "ASC", ("frames_right", "frames"), about="the share of seconds with the right shot.")
ASC_EDIT = _share("asc_edit", "ASC, aligned", ("frame_edits", "frames"), of=_unmatched)
TSC_AC = _share("tsc_ac", "TSC-AC", ("trends_right", "trends"), about="the share of right trends of shot change.")
TREND_CHANGE = _share("trend_change", "Changes", ("changes_right", "trends"))
DST_AC = Measure("dst_ac", "DST-AC", ("duration_error", "shots"), _of_reference, unit="s")
DS = Measure("ds", "DS", ("seconds", "shots"), _of_hypothesis, unit="s", higher_is_better=None)
BEATS = _share("beat_accuracy", "Beats", ("beats_right", "beats"))
MACRO_F1 = _share("macro_f1", "Macro-F1", ("classes",), of=_macro_f1, about="the mean of the classes' F1.")
CUT_F1 = _share("cut_f1", "Cut F1", ("cuts",), of=_cut_f1, about="F1 of cuts, matched within one beat.")
SHOT_EDITS = Measure("segment_edit_distance", "Shot edits", ("segment_edits", "shots"), _of_reference, decimals=3)
TRANSITION_KL = Measure("transition_kl", "Transition KL", ("transitions",), _transition_kl, decimals=3)
LENGTHS = Measure("length_distance", "Lengths", ("lengths",), _length_distance, unit="s", decimals=3)
NLL = Measure("mean_nll", "NLL", ("nll", "scored"), ratio, decimals=3)
ECE = Measure("ece", "ECE", ("bins",), ece, unit="%", scale=100, reflect=True)
DIRECTOR_KL = Measure("director_kl", "KL to director", ("kl", "directed"), ratio, decimals=3)

REPORTED = (ASC, TSC_AC, MACRO_F1, CUT_F1)
MEASURES = (
    ASC,
    ASC_EDIT,
    TSC_AC,
    TREND_CHANGE,
    DST_AC,
    DS,
    BEATS,
    MACRO_F1,
    CUT_F1,
    SHOT_EDITS,
    TRANSITION_KL,
    LENGTHS,
    NLL,
    ECE,
    DIRECTOR_KL,
)


def summary(sums: Sums) -> dict[str, float]:
    """Return every measure by key; shares are fractions, lengths seconds, NaN what is undefined."""
    return {measure.key: float(measure.value(sums)) for measure in MEASURES}
