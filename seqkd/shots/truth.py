"""What is attainable on made-up concerts, computed exactly from the director that made their shots.

``<set>/director.safetensors`` holds the director's distributions for every song, ``<set>/bound.json`` the scores that
nobody can beat on average who knows the song perfectly.

Legend: T one-second frames, S = 8 shots.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from seqkd.errors import DataError
from seqkd.files import atomic_path, write_json
from seqkd.shots.chain import given_previous, marginals, most_likely
from seqkd.stages import again


@dataclass(frozen=True)
class Truth:
    """The director's distributions for one song.

    Attributes:
        classes: (T,) int64, the shots that were drawn.
        initial: (S,), P(first shot | song).
        transition: (T, S, S), P(shot_t = j | shot_{t-1} = i, song); row 0 is of no use.
        marginal: (T, S), P(shot_t | song).
        given_previous: (T, S), P(shot_t | song, true previous shot).
    """

    classes: np.ndarray
    initial: np.ndarray
    transition: np.ndarray
    marginal: np.ndarray
    given_previous: np.ndarray

    @staticmethod
    def of(initial: np.ndarray, transition: np.ndarray, classes: np.ndarray) -> Truth:
        """Compute it from the chain and the shots that were drawn."""
        previous = given_previous(initial, transition, classes)
        return Truth(classes, initial, transition, marginals(initial, transition), previous)


@dataclass(frozen=True)
class Bound:
    """Attainable scores of a set, frames of all songs pooled; accuracies are fractions.

    Each accuracy is the exact expectation over the shots that the director might have drawn; ``drawn`` ones are of the
    shots that were drawn, the very ones that a model is scored on, and differ from it by chance.

    Attributes:
        frames: One-second frames.
        accuracy: Of the most likely shot of each frame given the song, the best that anyone can expect.
        accuracy_given_previous: Of the most likely shot given the song and the true previous shot.
        accuracy_viterbi: Of the most likely whole sequence, which is another decoder and a little worse.
        accuracy_sampled: Of a sequence drawn from the director.
        drawn_accuracy: As ``accuracy``, of the drawn shots.
        drawn_accuracy_given_previous: As ``accuracy_given_previous``, of the drawn shots.
        drawn_accuracy_viterbi: As ``accuracy_viterbi``, of the drawn shots.
        nll: Expected negative log-likelihood a frame, in nats, of the director's own marginals.
        nll_given_previous: The same given the true previous shot: the entropy rate.
        shot_length: Expected mean shot length in seconds: frames over expected shots.
        shot_length_argmax: Mean shot length of the decoder behind ``accuracy``.
        shot_length_viterbi: Mean shot length of the decoder behind ``accuracy_viterbi``.
    """

    frames: int
    accuracy: float
    accuracy_given_previous: float
    accuracy_viterbi: float
    accuracy_sampled: float
    drawn_accuracy: float
    drawn_accuracy_given_previous: float
    drawn_accuracy_viterbi: float
    nll: float
    nll_given_previous: float
    shot_length: float
    shot_length_argmax: float
    shot_length_viterbi: float


def bound_of(truths: Iterable[Truth]) -> Bound:
    """Compute what is attainable on some songs; DataError without any."""
    sums = np.sum([_sums(truth) for truth in truths], axis=0)
    if not np.ndim(sums):
        raise DataError("There are no songs to compute a bound of.")
    frames, shots = sums[0], sums[10:]
    return Bound(round(frames), *(float(value / frames) for value in sums[1:10]), *(float(frames / n) for n in shots))


def _sums(truth: Truth) -> np.ndarray:
    """The sums over frames behind a Bound, in the order of its fields; the last three count shots."""
    marginal, later = truth.marginal, truth.transition[1:]
    rows = np.arange(len(marginal))
    before = marginal[:-1]  # (T - 1, S)
    best, path = marginal.argmax(axis=1), most_likely(truth.initial, truth.transition)
    stays = (before * later[:, np.arange(later.shape[1]), np.arange(later.shape[1])]).sum(axis=1)
    return np.array(
        [
            len(marginal),
            marginal.max(axis=1).sum(),
            truth.initial.max() + (before * later.max(axis=2)).sum(),
            marginal[rows, path].sum(),
            (marginal**2).sum(),
            (best == truth.classes).sum(),
            (truth.given_previous.argmax(axis=1) == truth.classes).sum(),
            (path == truth.classes).sum(),
            _entropy(marginal).sum(),
            _entropy(truth.initial) + (before * _entropy(later)).sum(),
            1 + (1 - stays).sum(),
            1 + (np.diff(best) != 0).sum(),
            1 + (np.diff(path) != 0).sum(),
        ]
    )


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.maximum(p, 1e-300))).sum(axis=-1)


def write_truth(directory: Path, truths: Mapping[str, Truth]) -> Bound:
    """Write a set's truth and its bound; returns the bound."""
    from safetensors.numpy import save_file

    bound = bound_of(truths.values())
    with atomic_path(directory / "director.safetensors") as temporary:
        arrays = {
            f"{key}/{name}": np.ascontiguousarray(value)
            for key, truth in sorted(truths.items())
            for name, value in (("classes", truth.classes), ("initial", truth.initial), ("chain", truth.transition))
        }
        save_file(arrays, temporary)
    write_json(directory / "bound.json", asdict(bound))
    return bound


def read_truth(directory: Path | str) -> dict[str, Truth]:
    """Return the director's distributions by song id; DataError if there are none or the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = Path(directory) / "director.safetensors"
    if not file.is_file():
        raise DataError(
            f"{file} is missing; only made-up concerts have a known director: in their recipe, {again('corpus')}"
        )
    try:
        arrays = load_file(file)
        keys = sorted({name.rpartition("/")[0] for name in arrays})
        return {
            key: Truth.of(arrays[f"{key}/initial"], arrays[f"{key}/chain"], arrays[f"{key}/classes"]) for key in keys
        }
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{file} is damaged ({error}); delete it and {again('corpus')}") from error


def read_bound(directory: Path | str) -> Bound:
    """Return what is attainable on a set; DataError if it is not known."""
    file = Path(directory) / "bound.json"
    try:
        return Bound(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(
            f"{file} is missing; only made-up concerts have a known bound: in their recipe, {again('corpus')}"
        ) from None
    except (ValueError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); delete it and {again('corpus')}") from error
