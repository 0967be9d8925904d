"""The film language: which shot follows which, a bigram over one-second frames, and decoding under it.

The bigram is P(s) = P(s₁) ∏ P(s_t | s_{t−1}). What a model sees in the music enters as log-likelihoods
log P(music_t | s_t), up to any constant a frame; those of a classifier are its posterior divided by the prior.
Three readings of the two together: the best sequence, the probability of each shot at each second, and sequences
drawn from P(s | music), which are drafts that differ as an editor's would.

Paper: deep interactive learning, ACM MM 2020, 10.1145/3394171.3413985. Chosen: add-one smoothing of the counts.

Letters: T frames (seconds), C shot classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seqkd import files
from seqkd.errors import DataError

_LEAST = 1e-30  # a posterior below this counts as this, as its logarithm would not end


@dataclass(frozen=True, eq=False)
class FilmLanguage:
    """A bigram of shots.

    Attributes:
        initial: (C,) P(s₁).
        transition: (C, C) P(s_t | s_{t−1}), a row a previous shot.
        prior: (C,) P(s), the share of each shot over all frames.
        counts: (C, C) how often each pair of frames was seen, or None where no counts were kept.
        stay: what the odds of staying are multiplied by beside a classifier's posteriors, which hold part of why shots
            stay; see `seqkd.shots.coupling.stay_factor`. 1 where it was never fitted.
    """

    initial: np.ndarray
    transition: np.ndarray
    prior: np.ndarray
    counts: np.ndarray | None = None
    stay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.stay < np.inf:
            raise DataError(f"The film language's factor of staying is {self.stay}; expected a number above 0.")
        for name, dimensions in (("initial", 1), ("transition", 2), ("prior", 1)):
            table = np.asarray(getattr(self, name), float)
            if table.shape != (len(self.prior),) * dimensions or not len(table):
                raise DataError(
                    f"The film language's {name} has shape {table.shape}; expected {(len(self.prior),) * dimensions}."
                )
            if not ((table >= 0).all() and np.allclose(table.sum(-1), 1, atol=1e-6)):
                raise DataError(f"The film language's {name} is not made of probabilities that sum to 1.")
            object.__setattr__(self, name, table)
        if self.counts is not None:
            object.__setattr__(self, "counts", np.asarray(self.counts, float))

    @classmethod
    def from_counts(cls, sequences: Iterable[ArrayLike], *, classes: int = 8, smoothing: float = 1.0) -> FilmLanguage:
        """Count shots, first shots and pairs of shots.

        Args:
            sequences: of shot numbers, one a second, (T,) each; empty ones count for nothing.
            classes: C.
            smoothing: what is added to every count. 0 leaves shots that were never seen impossible, and is refused
                where that would leave a row without any count.

        Raises:
            DataError: a shot number out of range, or nothing to count.
        """
        initial, pairs, shots = np.zeros(classes), np.zeros((classes, classes)), np.zeros(classes)
        for number, sequence in enumerate(sequences):
            sequence = np.asarray(sequence)
            if sequence.ndim != 1 or not np.issubdtype(sequence.dtype, np.integer):
                raise DataError(f"Shot sequence {number} is no (T,) array of whole numbers.")
            if len(sequence) and not (sequence.min() >= 0 and sequence.max() < classes):
                raise DataError(f"Shot sequence {number} holds a shot outside of the classes 0 to {classes - 1}.")
            initial[sequence[:1]] += 1
            np.add.at(pairs, (sequence[:-1], sequence[1:]), 1)
            shots += np.bincount(sequence, minlength=classes)
        tables = [table + smoothing for table in (initial, pairs, shots)]
        if not all((table.sum(-1) > 0).all() for table in tables):
            raise DataError("A film language needs shots to count, or a smoothing above 0 for those never seen.")
        return cls(*(table / table.sum(-1, keepdims=True) for table in tables), counts=pairs)

    def log_likelihood(self, posterior: ArrayLike, prior_power: float = 1.0) -> np.ndarray:
        """(T, C) log P(music_t | s_t) from a classifier's (T, C) P(s_t | music_t), up to a constant a frame.

        likelihood ∝ posterior / prior. A shot whose prior is 0 stays impossible. The division is right for a
        classifier that reads one frame at a time; one that reads the whole song has used the prior once for a run of
        frames, not once a frame, and a ``prior_power`` below 1 keeps rare shots from being favoured in each.
        """
        posterior = np.asarray(posterior, float)
        weights = -prior_power * np.log(np.maximum(self.prior, _LEAST))
        return np.log(np.maximum(posterior, _LEAST)) + np.where(self.prior > 0, weights, -np.inf)

    def viterbi(self, log_likelihood: ArrayLike) -> np.ndarray:
        """(T,) the most probable sequence, argmax_s P(music | s) P(s), from (T, C) log-likelihoods.

        Among equally probable sequences the one with the smallest last shot, and so on backwards.

        Raises:
            DataError: a wrong shape, a NaN or +inf, or no sequence with a probability above 0.
        """
        scores = self._checked(log_likelihood)
        if not len(scores):
            return np.zeros(0, np.int64)
        best = self._logs[0] + scores[0]  # (C,) of the best sequence that ends in each shot
        back = np.zeros(scores.shape, np.int64)
        for t in range(1, len(scores)):
            ways = best[:, None] + self._logs[1]  # (C before, C now)
            back[t] = ways.argmax(0)
            best = ways.max(0) + scores[t]
        self._possible(best)
        sequence = np.empty(len(scores), np.int64)
        sequence[-1] = best.argmax()
        for t in range(len(scores) - 1, 0, -1):
            sequence[t - 1] = back[t, sequence[t]]
        return sequence

    def posterior(self, log_likelihood: ArrayLike) -> np.ndarray:
        """(T, C) P(s_t | all music), by the forward–backward recursion; each row sums to 1.

        Raises:
            DataError: as `viterbi`.
        """
        scores = self._checked(log_likelihood)
        joint = self._forward(scores)  # (T, C) to which the backward variable is added
        backward = np.zeros(self.prior.shape)
        for t in range(len(scores) - 2, -1, -1):
            backward = np.logaddexp.reduce(self._logs[1] + (scores[t + 1] + backward), axis=1)
            joint[t] += backward
        joint -= joint.max(-1, keepdims=True, initial=-np.inf)
        posterior = np.exp(joint)
        return posterior / posterior.sum(-1, keepdims=True)

    def sample(self, log_likelihood: ArrayLike, rng: np.random.Generator) -> np.ndarray:
        """(T,) a sequence drawn from P(s | music): forward filtering, backward sampling.

        Raises:
            DataError: as `viterbi`.
        """
        forward = self._forward(self._checked(log_likelihood))
        sequence = np.empty(len(forward), np.int64)
        for t, draw in zip(range(len(forward) - 1, -1, -1), rng.random(len(forward)), strict=True):
            scores = forward[t] if t == len(forward) - 1 else forward[t] + self._logs[1][:, sequence[t + 1]]
            weights = np.cumsum(np.exp(scores - scores.max()))
            # The first shot whose share of the total is above the draw; one of weight 0 never is.
            sequence[t] = (weights > draw * weights[-1]).argmax()
        return sequence

    def log_prob(self, sequence: ArrayLike) -> float:
        """Log P(s) of a (T,) sequence, in nats; −inf where it is impossible, 0 where it is empty."""
        sequence = np.asarray(sequence, np.int64)
        initial, transition = self._logs
        return float(initial[sequence[:1]].sum() + transition[sequence[:-1], sequence[1:]].sum())

    def save(self, path: Path | str) -> None:
        """Write the film language as a JSON file, atomically."""
        names = ("initial", "transition", "prior", "counts")
        tables = {name: getattr(self, name) for name in names}
        written = {name: None if table is None else table.tolist() for name, table in tables.items()}
        files.write_json(path, written | ({} if self.stay == 1 else {"stay": self.stay}))

    @classmethod
    def load(cls, path: Path | str) -> FilmLanguage:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing or is not a film language.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path} is missing; expected a film language written with its model, train again.")
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            tables = (np.asarray(found[name], float) for name in ("initial", "transition", "prior"))
            return cls(*tables, counts=found.get("counts"), stay=float(found.get("stay", 1.0)))
        except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path} is not a film language ({reason}); train the model again.") from error

    @cached_property
    def _logs(self) -> tuple[np.ndarray, np.ndarray]:
        """(C,) and (C, C): logarithms of the initial and transition probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self.initial), np.log(self.transition)

    def _forward(self, scores: np.ndarray) -> np.ndarray:
        """(T, C) log P(music up to t, s_t); in logarithms, so that nothing underflows however long the song is."""
        forward = np.empty_like(scores)
        predicted = self._logs[0]
        for t in range(len(scores)):
            forward[t] = predicted + scores[t]
            predicted = np.logaddexp.reduce(forward[t][:, None] + self._logs[1], axis=0)
        self._possible(forward[-1:] if len(forward) else np.zeros(1))
        return forward

    def _checked(self, log_likelihood: ArrayLike) -> np.ndarray:
        scores = np.asarray(log_likelihood, float)
        if scores.ndim != 2 or scores.shape[1] != len(self.prior):
            raise DataError(f"Log-likelihoods have shape {scores.shape}; expected (T, {len(self.prior)}).")
        if np.isnan(scores).any() or np.isposinf(scores).any():
            frame = int(np.flatnonzero((np.isnan(scores) | np.isposinf(scores)).any(-1))[0])
            raise DataError(f"The log-likelihoods of frame {frame} hold a NaN or an infinity; expected finite numbers.")
        return scores

    @staticmethod
    def _possible(best: np.ndarray) -> None:
        if not np.isfinite(best).any():
            raise DataError("No shot sequence has a probability above 0 under this film language and this music.")
