"""Markov chains whose transitions change with time.

Legend: T frames, S states. A chain is ``initial`` (S,), P(first state), and ``transition`` (T, S, S), P(state_t = j |
state_{t-1} = i) in row t; row 0 is of no use.
"""

from __future__ import annotations

import numpy as np


def marginals(initial: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Return P(state_t) (T, S) of the chain, by the forward recursion m_t = m_{t-1} P_t."""
    rows = np.empty(transition.shape[:2])
    rows[0] = initial
    for t in range(1, len(rows)):
        rows[t] = rows[t - 1] @ transition[t]
    return rows


def given_previous(initial: np.ndarray, transition: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return P(state_t | the state before it) (T, S)."""
    rows = transition[np.arange(len(states)), np.r_[0, states[:-1]]].copy()
    rows[0] = initial
    return rows


def most_likely(initial: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Return the most likely whole sequence (T,), by Viterbi's recursion; of sequences as likely, the first.

    Rows need not sum to 1: likelihoods may be multiplied into ``initial`` and ``transition``.
    """
    frames = len(transition)
    score, back = np.log(initial), np.zeros((frames, len(initial)), np.int64)
    for t in range(1, frames):
        options = score[:, None] + np.log(transition[t])  # (previous, next)
        back[t] = options.argmax(axis=0)
        score = options.max(axis=0)
    path = np.empty(frames, np.int64)
    path[-1] = score.argmax()
    for t in range(frames - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path
