"""The cut that is expected to be right most often, of all with a given number of shots.

Minimum Bayes risk: with p_t(s) the probability of shot s in second t and c_t that of a cut between t - 1 and t, the
sequence s is taken that maximises what it can expect to have right::

    Σ_t p_t(s_t)  +  Σ_{cuts of s} (c_t + μ)  −  ``short`` · (shots no longer than the least)

A right cut is worth as much as a right second (Chosen). μ is the price at which the sequence has as many shots as
asked for; the number that the model itself expects is 1 + Σ c_t. Taking the most likely whole sequence instead has cuts
half as often as editors do: the likeliest of many ways to cut is to leave it.

By dynamic programming over seconds, of many prices at once; a least length of shots is part of it and not a filter
afterwards. Time and memory grow with T, not with the least length.

Legend: T frames (seconds), C shot classes, M least length in frames, K prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_PRICES = 16  # K, tried at once
_NARROWER = 6  # times the range of prices is narrowed to one of K - 1 parts
_CLOSE = 2  # shots that may be added one by one
_EVEN = 1e-3  # of a second's worth: where seconds are alike, cuts spread evenly
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class _Ways:
    """Of each second, price and shot: how the best sequence gets there. All (T, K, C) but the last two, (T, K)."""

    on_from_begun: np.ndarray
    leaves_begun: np.ndarray
    first: np.ndarray
    second: np.ndarray


def decide(value: np.ndarray, cuts: np.ndarray, shots: int, *, least: int = 1, short: float = 0.0) -> np.ndarray:
    """Return the sequence (T,) of greatest expected worth that has ``shots`` shots, or as near as there is one.

    Of two classes it can have one shot fewer: a shot within another makes two cuts.

    Args:
        value: (T, C) what each shot is worth in each second: its probability.
        cuts: (T,) what a cut before each second is worth: its probability; that of the first second plays no part.
        shots: How many; at most T // M are possible, and 1 always is.
        least: M, seconds that every shot lasts; of a song shorter than that the one shot lasts throughout.
        short: What a shot of no more than M seconds costs.
    """
    frames, classes = value.shape
    least = max(1, min(least, frames))
    shots = max(1, min(shots, frames // least))
    if shots == 1 or classes == 1:
        return np.full(frames, int(value.sum(0).argmax()), np.int64)
    worth = cuts + _EVEN * np.modf(_GOLDEN * np.arange(frames))[0]
    # A shot more can cost all of its seconds and what its neighbours lose; nothing is worth more than that.
    most = 2.0 * (least + 1) * (1 + float(np.ptp(value))) + 2 * short + float(np.abs(worth).max())
    prices = np.r_[-most, np.linspace(-1.0, 1.0, _PRICES - 2), most]  # few cuts are worth more than a second
    for _ in range(_NARROWER):
        counts, ends, ways = _search(value, worth, prices, least, short)
        enough = np.flatnonzero(counts >= shots)
        above = int(enough[0]) if len(enough) else len(prices) - 1
        below = max(above - 1, 0)
        found = _path(ways, ends, above if counts[above] == shots else below, least)
        if -_CLOSE <= count_shots(found) - shots <= 0:
            break
        prices = np.linspace(prices[below], prices[above], _PRICES)
    while count_shots(found) < shots and (more := _one_more(found, value, worth, least, short)) is not None:
        found = more
    return found


def count_shots(sequence: np.ndarray) -> int:
    """Return how many runs of equal classes (T,) there are."""
    return 1 + int((np.diff(sequence) != 0).sum())


def _search(
    value: np.ndarray, worth: np.ndarray, prices: np.ndarray, least: int, short: float
) -> tuple[np.ndarray, np.ndarray, _Ways]:
    """(K,) shots of the best sequence at each price, (K,) its last shot, and the ways."""
    (frames, classes), count = value.shape, len(prices)
    rows = np.arange(count)
    sums = np.zeros((frames + 1, classes))
    np.cumsum(value, axis=0, out=sums[1:])
    shape = (frames, count, classes)
    ways = _Ways(
        np.zeros(shape, bool),
        np.zeros(shape, bool),
        np.zeros(shape[:2], np.int8),
        np.zeros(shape[:2], np.int8),
    )
    # begun: the shot is M seconds old; on: it is older. Beside each the number of shots so far.
    begun, on = np.full(shape[1:], -np.inf), np.full(shape[1:], -np.inf)
    begun_shots, on_shots = np.ones(shape[1:], np.int64), np.ones(shape[1:], np.int64)
    enter = np.zeros((least, *shape[1:]))  # of the last M seconds
    enter_shots = np.ones((least, *shape[1:]), np.int64)
    best, shots = on, on_shots
    for t in range(frames):
        if t:
            first = best.argmax(1)
            rest = best.copy()
            rest[rows, first] = -np.inf
            second = rest.argmax(1)
            ways.first[t], ways.second[t] = first, second
            place = t % least
            enter[place] = best[rows, first][:, None]
            enter[place, rows, first] = best[rows, second]
            enter[place] += (worth[t] + prices)[:, None]
            enter_shots[place] = shots[rows, first][:, None] + 1
            enter_shots[place, rows, first] = shots[rows, second] + 1
        ways.on_from_begun[t] = from_begun = begun >= on
        on = np.where(from_begun, begun, on) + value[t]
        on_shots = np.where(from_begun, begun_shots, on_shots)
        begin = t - least + 1
        if begin >= 0:
            begun = enter[begin % least] + (sums[t + 1] - sums[begin])
            begun_shots = enter_shots[begin % least].copy()
        ways.leaves_begun[t] = leaves = begun - short >= on
        best = np.where(leaves, begun - short, on)
        shots = np.where(leaves, begun_shots, on_shots)
    last = best.argmax(1)
    return shots[rows, last], last, ways


def _path(ways: _Ways, ends: np.ndarray, price: int, least: int) -> np.ndarray:
    """(T,) the best sequence at one of the prices, found backwards."""
    t, shot = len(ways.first) - 1, int(ends[price])
    sequence = np.empty(t + 1, np.int64)
    while True:
        young = ways.leaves_begun[t, price, shot]
        while not young:
            sequence[t] = shot
            young = ways.on_from_begun[t, price, shot]
            t -= 1
        begin = t - least + 1
        sequence[begin : t + 1] = shot
        if begin == 0:
            return sequence
        first = int(ways.first[begin, price])
        shot = int(ways.second[begin, price]) if first == shot else first
        t = begin - 1


def _one_more(
    sequence: np.ndarray, value: np.ndarray, worth: np.ndarray, least: int, short: float
) -> np.ndarray | None:
    """The best sequence with one shot made two, the first or second of them another; None if none is long enough.

    No price may lie between two numbers of shots: where a shot within another is worth it, that makes two cuts.
    """
    frames = len(sequence)
    places = np.arange(frames)
    edges = np.flatnonzero(np.r_[True, np.diff(sequence) != 0, True])  # (runs + 1,)
    runs = np.searchsorted(edges, places, side="right") - 1
    starts, ends = edges[runs], edges[runs + 1]
    possible = (places - starts >= least) & (ends - places >= least)
    if not possible.any():
        return None
    own = sequence
    sums = np.zeros((frames + 1, value.shape[1]))
    np.cumsum(value - value[places, own][:, None], axis=0, out=sums[1:])  # what each shot gains over the one there
    best, found = -np.inf, None
    for first in (True, False):
        low, high = (starts, places) if first else (places, ends)
        gain = sums[high] - sums[low] + worth[:, None] - short * (high - low == least)[:, None]
        gain[~possible] = -np.inf
        gain[places, own] = -np.inf
        beside = sequence[np.clip(low - 1 if first else high, 0, frames - 1)]
        gain[places, beside] = -np.inf
        t, shot = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[t, shot] > best:
            best, found = gain[t, shot], (int(low[t]), int(high[t]), int(shot))
    if found is None:
        return None
    changed = sequence.copy()
    changed[found[0] : found[1]] = found[2]
    return changed
