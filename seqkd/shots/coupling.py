"""Which shot follows which in *this* song: the pairs of seconds that a model's posteriors and the film language imply.

A network gives P(shot_t | song) for each second by itself. Whether the shot changes from one second to the next is a
matter of pairs. Of all pairs whose two margins are the network's posteriors, those nearest to the film language (in
Kullback–Leibler divergence) are taken::

    Q_t(i, j) = a_t(i) · A(i, j) · b_t(j),   Σ_j Q_t(i, j) = P_{t-1}(i),   Σ_i Q_t(i, j) = P_t(j)

found by iterative proportional fitting (Deming & Stephan 1940, 10.1214/aoms/1177731829). No evidence counts twice, as
it does where a posterior given the whole song is multiplied into a bigram once a second. A Markov chain made of these
pairs has the posteriors as its marginals at every second.

A is the bigram, but for its diagonal: part of why a shot stays in training songs is that the music stays the same,
which the posteriors already hold. `stay_factor` takes this part out, so that the expected number of cuts is the true
one on the songs it is fitted on.

Legend: T frames (seconds), C shot classes, N songs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from seqkd.errors import DataError

_ROUNDS = 60  # of proportional fitting, after which margins are off by less than a thousandth
_LEAST = 1e-9  # a posterior below this counts as this


def coupled(posteriors: ArrayLike, transition: ArrayLike, stay: float = 1.0) -> np.ndarray:
    """Return Q (T - 1, C, C): [t, i, j] is the probability of shot i in second t and shot j in second t + 1.

    Args:
        posteriors: (T, C) P(shot_t | song); rows sum to 1.
        transition: (C, C) of the film language.
        stay: What the odds of staying in ``transition`` are multiplied by; see `stay_factor`.

    Raises:
        DataError: Shapes disagree, or a posterior is no number.
    """
    rows, base = _checked(posteriors), _base(transition, stay)
    if rows.shape[1] != len(base):
        raise DataError(f"Posteriors are of {rows.shape[1]} shots, the film language of {len(base)}.")
    return _fitted(rows[:-1], rows[1:], base)


def change_probabilities(pairs: np.ndarray) -> np.ndarray:
    """Return P(the shot changes) (T - 1,) of pairs (T - 1, C, C)."""
    return np.clip(1 - np.einsum("tii->t", pairs), 0.0, 1.0)


def draw(posteriors: np.ndarray, pairs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a sequence (T,) drawn from the Markov chain that the pairs make."""
    sequence = np.empty(len(posteriors), np.int64)
    row = np.asarray(posteriors[0], float)
    for t, chance in enumerate(rng.random(len(posteriors))):
        if t:
            row = pairs[t - 1, sequence[t - 1]]
        shares = np.cumsum(row)
        sequence[t] = min(int((shares <= chance * shares[-1]).sum()), len(row) - 1)
    return sequence


def stay_factor(
    posteriors: Sequence[np.ndarray], sequences: Sequence[np.ndarray], transition: ArrayLike, rounds: int = 12
) -> float:
    """Return the ``stay`` with which as many cuts are expected as there are in some songs.

    Args:
        posteriors: (T, C) of each of N songs; best of songs that the model was not trained on.
        sequences: (T,) their true shots.
        transition: (C, C) of the film language.
        rounds: Of scaling the odds of staying.

    Returns:
        Above 0; 1 where the songs have no pair of seconds.
    """
    befores, afters, stayed = [], [], []
    for rows, classes in zip(posteriors, sequences, strict=True):
        rows = _checked(rows)
        befores.append(rows[:-1])
        afters.append(rows[1:])
        stayed.append(np.diff(classes) == 0)
    before, after, kept = (np.concatenate(parts) if parts else np.zeros(0) for parts in (befores, afters, stayed))
    if not len(kept):
        return 1.0
    # Half a pair each, so that songs without any cut, or with nothing but cuts, leave the factor finite.
    true = (kept.sum() + 0.5) / (len(kept) - kept.sum() + 0.5)
    factor = 1.0
    for _ in range(rounds):
        stays = float(np.einsum("tii->", _fitted(before, after, _base(transition, factor))))
        # With sharp posteriors no factor may do; it stays within what a bigram can mean.
        factor = float(np.clip(factor * true / ((stays + 0.5) / (len(kept) - stays + 0.5)), 1e-3, 1e3))
    return factor


def _base(transition: ArrayLike, stay: float) -> np.ndarray:
    base = np.maximum(np.asarray(transition, float), _LEAST)
    base[np.diag_indices(len(base))] *= stay
    return base


def _fitted(before: np.ndarray, after: np.ndarray, base: np.ndarray) -> np.ndarray:
    right = np.ones_like(after)
    left = right
    for _ in range(_ROUNDS):
        left = before / (right @ base.T)
        right = after / (left @ base)
    return left[:, :, None] * base * right[:, None, :]


def _checked(posteriors: ArrayLike) -> np.ndarray:
    rows = np.asarray(posteriors, float)
    if rows.ndim != 2 or not len(rows) or not np.isfinite(rows).all():
        raise DataError(f"Posteriors of shape {rows.shape} cannot be used; expected (T, C) finite numbers.")
    rows = np.maximum(rows, _LEAST)
    return rows / rows.sum(-1, keepdims=True)
