"""Sums over songs from which every measure of shot sequences is computed; definitions are in ``seqkd.shots.metrics``.

Legend: S = 8 shots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from seqkd.errors import DataError
from seqkd.statistics.calibration import Calibration

_SMOOTHING = 0.5  # added to every count of a transition, so that none is impossible
_CHUNK = 100  # replicates whose sums are in memory at once: 5 MB


@dataclass(frozen=True)
class ShotScores:
    """Sums of one song or of several.

    Attributes:
        songs: How many.
        frames: One-second frames.
        frames_right: Those with the right shot.
        frame_edits: Edits between both sequences of frames.
        trends: Pairs of neighbouring frames.
        trends_right: Those with the right one of four trends.
        changes_right: Those in which both or neither change the shot.
        duration_error: Seconds, over true shots.
        seconds: Length of the hypothesis.
        shots: (2,), shots of the reference and of the hypothesis.
        segment_edits: Edits between both sequences of shots, whatever their lengths.
        beats: Beats at which both were compared.
        beats_right: Those at which both show the same.
        cuts: (3,), cuts of the reference, of the hypothesis, and those matched.
        classes: (3, S), frames right, of the hypothesis, and of the reference, by class.
        transitions: (2, S, S), of the reference and of the hypothesis, from frame to frame.
        lengths: (2, 64), shots of the reference and of the hypothesis by length in seconds, rounded, from 1 on; the
            last bin holds all longer ones.
        scored: Frames with posteriors.
        nll: Over frames, in nats; of the reference.
        directed: Frames with posteriors and a known director.
        kl: Over frames, in nats; from the director's distribution to the posteriors.
        calibration: The vector of a ``seqkd.statistics.calibration.Calibration`` of 15 bins.
    """

    songs: float
    frames: float
    frames_right: float
    frame_edits: float
    trends: float
    trends_right: float
    changes_right: float
    duration_error: float
    seconds: float
    shots: np.ndarray
    segment_edits: float
    beats: float
    beats_right: float
    cuts: np.ndarray
    classes: np.ndarray
    transitions: np.ndarray
    lengths: np.ndarray
    scored: float
    nll: float
    directed: float
    kl: float
    calibration: np.ndarray

    def __add__(self, other: ShotScores) -> ShotScores:
        return ShotScores(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __radd__(self, other: int) -> ShotScores:
        """Let ``sum`` begin with 0."""
        return self

    @property
    def asc(self) -> float:
        """The paper's ASC, frame-aligned: the share of frames with the right shot."""
        return _share(self.frames_right, self.frames)

    frame_accuracy = asc

    @property
    def asc_edit(self) -> float:
        """ASC with D, S and I of an alignment with the fewest edits."""
        return 1 - _share(self.frame_edits, self.frames)

    @property
    def tsc_ac(self) -> float:
        """The paper's TSC-AC: the share of right trends."""
        return _share(self.trends_right, self.trends)

    @property
    def trend_change(self) -> float:
        """The share of frames in which both or neither change the shot."""
        return _share(self.changes_right, self.trends)

    @property
    def dst_ac(self) -> float:
        """The paper's DST-AC: mean error of a shot's length, in seconds; lower is better."""
        return _share(self.duration_error, self.shots[0])

    @property
    def ds(self) -> float:
        """The paper's DS: mean shot length of the hypothesis, in seconds."""
        return _share(self.seconds, self.shots[1])

    @property
    def beat_accuracy(self) -> float:
        """The share of beats at which the right shot is seen; NaN without beats."""
        return _share(self.beats_right, self.beats)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur in either sequence."""
        right, said, true = self.classes
        there = (said + true) > 0
        return float((2 * right[there] / (said + true)[there]).mean())

    @property
    def cut_f1(self) -> float:
        """F1 of cuts within a beat; 1 where neither sequence has any."""
        true, said, matched = self.cuts
        return float(2 * matched / (true + said)) if true + said else 1.0

    @property
    def segment_edit_distance(self) -> float:
        """Edits between the sequences of shots, a true shot."""
        return _share(self.segment_edits, self.shots[0])

    @property
    def transition_kl(self) -> float:
        """KL from the reference's transition matrix to the hypothesis's, in nats a frame.

        Σ_i π_i KL(P_i ‖ Q_i): rows of frame-to-frame transitions, each count plus ½, weighted by how often the
        reference leaves i.
        """
        true, said = self.transitions + _SMOOTHING
        weight = self.transitions[0].sum(axis=1)
        p, q = (table / table.sum(axis=1, keepdims=True) for table in (true, said))
        return _share(float((weight[:, None] * p * np.log(p / q)).sum()), float(weight.sum()))

    @property
    def length_distance(self) -> float:
        """Wasserstein distance between both distributions of shot lengths, in seconds."""
        true, said = self.lengths / np.maximum(self.lengths.sum(axis=1, keepdims=True), 1)
        return float(np.abs(np.cumsum(true - said)).sum())

    @property
    def mean_nll(self) -> float:
        """Negative log-likelihood of the reference a frame, in nats; NaN without posteriors."""
        return _share(self.nll, self.scored)

    @property
    def director_kl(self) -> float:
        """KL from the director's P(shot | song) to the posteriors a frame, in nats; NaN without either."""
        return _share(self.kl, self.directed)

    @property
    def ece(self) -> float:
        """Expected calibration error of the posteriors, 15 bins; NaN without."""
        return Calibration.from_vector(self.calibration).summary().ece if self.scored else float("nan")

    def summary(self) -> dict[str, float]:
        """Every measure by name; shares are fractions, lengths seconds."""
        return {name: float(getattr(self, name)) for name in MEASURES}


MEASURES = (
    "asc",
    "asc_edit",
    "tsc_ac",
    "trend_change",
    "dst_ac",
    "ds",
    "beat_accuracy",
    "macro_f1",
    "cut_f1",
    "segment_edit_distance",
    "transition_kl",
    "length_distance",
    "mean_nll",
    "ece",
    "director_kl",
)


def interval(
    scores: Sequence[ShotScores],
    measure: str | Callable[[ShotScores], float],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of any measure, songs drawn with replacement.

    For measures that are shares, ``seqkd.statistics.bootstrap`` does the same and compares systems too.

    Args:
        scores: One a song; several seeds of one song are added up first.
        measure: One of ``MEASURES``, or a function of pooled scores.
        replicates: Bootstrap replicates.
        seed: Of the drawing.
    """
    if not scores:
        raise DataError("There are no songs to resample.")
    value = measure if callable(measure) else lambda pooled: getattr(pooled, measure)
    stacked = {f.name: np.stack([np.asarray(getattr(s, f.name), float) for s in scores]) for f in fields(ShotScores)}
    counts = np.random.default_rng(seed).multinomial(len(scores), np.full(len(scores), 1 / len(scores)), replicates)
    drawn_values: list[float] = []
    for start in range(0, replicates, _CHUNK):
        drawn = {name: np.tensordot(counts[start : start + _CHUNK], rows, 1) for name, rows in stacked.items()}
        pooled = (ShotScores(*row) for row in zip(*drawn.values(), strict=True))
        drawn_values += [value(one) for one in pooled]
    values = np.array(drawn_values)
    values = values[np.isfinite(values)]  # a draw may have no song with beats, or with posteriors
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
