"""The fused teacher: assistants at 1, 2 and 4 seconds, the co-occurrence of their frames, and the film language.

With x, y, z the features of the frames of 1, 2 and 4 seconds around second t, and u, v, w the k-means codes
of these inputs, the teacher scores a shot sequence s by P(X, Y, Z | s) · P(s)::

    P(X, Y, Z | s) = ∏_t P(x_t | s_t) P(y_⌈t/2⌉ | s_t) P(z_⌈t/4⌉ | s_t) · P(u|v,s) P(v|w,s) / [P(u|s) P(v|s)]

The three likelihoods are the assistants' posteriors over the prior; P(s) is a shot bigram; ŝ is the Viterbi sequence.
What a student learns from is o, the posterior of each shot under the bigram (forward–backward), tempered: p_T =
softmax(log o / τ).

Two fusions, by name. ``product`` is that formula. It takes what a network gives for a second given the whole song for
the likelihood of that second alone, so that one piece of evidence counts once a second and once a rate, and multiplies
the bigram on top: on songs it has not seen it is surer than it is right. ``pool`` (default of the recipes) is the
log-linear pool of the three posteriors with weights fitted on dev songs (`seqkd.shots.pooling`), without a bigram a
second; o is the pool, ŝ its most probable shot in each second.

Paper: deep interactive learning, ACM MM 2020, 10.1145/3394171.3413985. Chosen: ``pool``; o of ``product``
(the paper's fused probability is not defined there), the smoothing of the counts towards independence, the number of
codes, ``scale`` and ``prior_power``.

Legend: T seconds, F features, C shot classes, K codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqkd.errors import DataError
from seqkd.files import atomic_path, write_json
from seqkd.shots.language import FilmLanguage
from seqkd.shots.model import ShotModel, load_shot_model, save_shot_model
from seqkd.shots.pooling import fit_pool, pooled
from seqkd.shots.rates import RATES, averaged, repeated
from seqkd.stages import again

if TYPE_CHECKING:
    from seqkd.shots.audio.features import Track


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log o / τ) of (..., C) probabilities, that is o^(1/τ) over its sum; zeros stay zero."""
    powers = np.asarray(probabilities, float) ** (1 / temperature)
    return powers / powers.sum(-1, keepdims=True)


def log_ratio(
    codes: np.ndarray, given: np.ndarray, shots: np.ndarray, *, size: int, classes: int, strength: float
) -> np.ndarray:
    """(C, K, K) log [P(u | v, s) / P(u | s)] at [s, u, v], from counts.

    P(u | v, s) is smoothed towards P(u | s), as if ``strength`` more frames of v had been seen in which u was
    independent of v. So where u ⟂ v given s in the counts, and where v was never seen with s, the ratio is exactly 1.

    Args:
        codes, given: (N,) u and v of the training frames.
        shots: (N,) s of the same frames.
        size: K.
        classes: C.
        strength: frames; above 0.
    """
    counts = np.zeros((classes, size, size))
    np.add.at(counts, (shots, codes, given), 1)
    share = counts.sum(2, keepdims=True) / counts.sum((1, 2), keepdims=True).clip(1)  # (C, K, 1) P(u | s)
    seen = counts.sum(1, keepdims=True)  # (C, 1, K) frames of v and s
    # [n(u,v,s) + strength P(u|s)] / [n(v,s) + strength] / P(u|s); a code never seen with this shot changes nothing.
    lift = np.divide(counts, share, out=np.broadcast_to(seen, counts.shape).copy(), where=share > 0)
    return np.log((lift + strength) / (seen + strength))


@dataclass(frozen=True, eq=False)
class CoOccurrence:
    """How the inputs of the three rates go together, given the shot.

    Attributes:
        mean, deviation: (F,) of the one-second frames: the codes are of normalised inputs.
        codebooks: (3, K, F) k-means centres of the 1, 2 and 4 s inputs.
        high_middle: (C, K, K) log P(u|v,s) − log P(u|s) at [s, u, v].
        middle_low: (C, K, K) log P(v|w,s) − log P(v|s) at [s, v, w].
    """

    mean: np.ndarray
    deviation: np.ndarray
    codebooks: np.ndarray
    high_middle: np.ndarray
    middle_low: np.ndarray

    @classmethod
    def learn(
        cls,
        songs: Sequence[np.ndarray],
        shots: Sequence[np.ndarray],
        *,
        classes: int,
        codes: int = 16,
        strength: float = 20.0,
        seed: int = 0,
    ) -> CoOccurrence:
        """Cluster the inputs and count their codes.

        Args:
            songs: (T, F) one-second frames each.
            shots: (T,) classes each.
            classes: C.
            codes: K, at most the number of the slowest frames.
            strength: of the smoothing, see `log_ratio`.
            seed: of k-means.

        Raises:
            DataError: fewer frames than codes.
        """
        from scipy.cluster.vq import kmeans2

        frames = np.concatenate(songs).astype(float)
        mean, deviation = frames.mean(0), frames.std(0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        inputs = [[averaged((song - mean) / deviation, n) for song in songs] for n in RATES]
        if codes > len(np.concatenate(inputs[-1])):
            raise DataError(
                f"The training songs have {len(np.concatenate(inputs[-1]))} frames of {RATES[-1]} s, fewer than the "
                f"{codes} codes of the teacher; give more songs or set teacher.codes lower."
            )
        books = [
            kmeans2(np.concatenate(rate), codes, iter=30, minit="++", rng=np.random.default_rng([seed, n]))[0]
            for n, rate in zip(RATES, inputs, strict=True)
        ]
        learned = cls(mean, deviation, np.stack(books), np.zeros((classes, codes, codes)), np.zeros(0))
        u, v, w = (np.concatenate(found) for found in zip(*(learned.codes(song) for song in songs), strict=True))
        tables = [
            log_ratio(a, b, np.concatenate(shots), size=codes, classes=classes, strength=strength)
            for a, b in ((u, v), (v, w))
        ]
        return cls(mean, deviation, learned.codebooks, *tables)

    def codes(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u, v, w at each second, (T,) each, of one-second frames (T, F)."""
        from scipy.cluster.vq import vq

        inputs = (np.asarray(frames, float) - self.mean) / self.deviation
        u, v, w = (
            repeated(vq(averaged(inputs, n), book)[0], n, len(frames))
            for n, book in zip(RATES, self.codebooks, strict=True)
        )
        return u, v, w

    def log_factor(self, frames: np.ndarray) -> np.ndarray:
        """(T, C) log of P(u|v,s) P(v|w,s) / [P(u|s) P(v|s)] of one-second frames (T, F)."""
        u, v, w = self.codes(frames)
        return (self.high_middle[:, u, v] + self.middle_low[:, v, w]).T


@dataclass(frozen=True, eq=False)
class FusedTeacher:
    """Three assistants as one.

    Attributes:
        assistants: at 1, 2 and 4 s.
        co_occurrence: of their inputs.
        language: the shot bigram P(s).
        scale: of log P(X, Y, Z | s) against log P(s). 1 is the paper's formula, which takes the three for
            independent but for the codes; less makes up for what they have in common beyond that.
        prior_power: of the prior in likelihood ≈ posterior / prior. 1 is the paper's; see
            `FilmLanguage.log_likelihood` for when less is better.
        pool: weights of the assistants in their log-linear pool; None where they are fused by the product.
    """

    assistants: tuple[ShotModel, ShotModel, ShotModel]
    co_occurrence: CoOccurrence
    language: FilmLanguage
    scale: float = 1.0
    prior_power: float = 1.0
    pool: tuple[float, ...] | None = None

    def log_likelihood(self, frames: np.ndarray) -> np.ndarray:
        """(T, C) log P(X, Y, Z | s_t) of one-second frames (T, F), up to a constant a frame, times ``scale``."""
        likelihoods = [
            self.language.log_likelihood(model.posteriors(frames), self.prior_power) for model in self.assistants
        ]
        return self.scale * (sum(likelihoods) + self.co_occurrence.log_factor(frames))

    def posteriors(self, song: Track | np.ndarray) -> np.ndarray:
        """(T, C) o: P(s_t | X, Y, Z), of a track or its frames (T, F); rows sum to 1."""
        if self.pool is not None:
            return pooled([model.posteriors(self._frames(song)) for model in self.assistants], self.pool)
        return self.language.posterior(self.log_likelihood(self._frames(song)))

    def decode(self, song: Track | np.ndarray) -> np.ndarray:
        """(T,) ŝ of a track or its frames (T, F): of a product argmax P(X, Y, Z | s) P(s), of a pool argmax o."""
        if self.pool is not None:
            return self.posteriors(song).argmax(-1)
        return self.language.viterbi(self.log_likelihood(self._frames(song)))

    def fitted(self, songs: Mapping[str, np.ndarray], classes: Mapping[str, np.ndarray]) -> FusedTeacher:
        """The same assistants in a pool whose weights are fitted on songs (T, F) and their classes (T,), by song id."""
        posteriors = [np.concatenate([model.posteriors(songs[key]) for key in songs]) for model in self.assistants]
        return replace(self, pool=fit_pool(posteriors, np.concatenate([classes[key] for key in songs])))

    def parameter_count(self) -> int:
        """The number of trainable parameters of the three networks."""
        return sum(model.network.parameter_count() for model in self.assistants)

    def _frames(self, song: Track | np.ndarray) -> np.ndarray:
        return song if isinstance(song, np.ndarray) else self.assistants[0].frames_of(song)


def save_teacher(directory: Path, teacher: FusedTeacher) -> None:
    """Write ``assistant_<n>s/`` of each rate, ``fusion.safetensors`` and, last, ``fusion.json``."""
    from safetensors.numpy import save_file

    for n, model in zip(RATES, teacher.assistants, strict=True):
        save_shot_model(directory / f"assistant_{n}s", model)
    teacher.language.save(directory / "language.json")
    with atomic_path(directory / "fusion.safetensors") as path:
        save_file({name: np.ascontiguousarray(table) for name, table in vars(teacher.co_occurrence).items()}, path)
    about = {"scale": teacher.scale, "prior_power": teacher.prior_power, "pool": teacher.pool}
    write_json(directory / "fusion.json", about)


def load_teacher(directory: Path | str) -> FusedTeacher:
    """Read what `save_teacher` wrote. DataError when it is incomplete or damaged."""
    import json

    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    directory = Path(directory)
    if not (directory / "fusion.json").is_file():
        raise DataError(f"{directory}: no finished teacher here; {again('teachers')}")
    try:
        tables = CoOccurrence(**load_file(directory / "fusion.safetensors"))
        options = json.loads((directory / "fusion.json").read_text(encoding="utf-8"))
        scale, prior_power = float(options["scale"]), float(options["prior_power"])
        pool = None if options.get("pool") is None else tuple(float(weight) for weight in options["pool"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{directory} is a damaged teacher ({reason}); delete it and {again('teachers')}") from error
    high, middle, low = (load_shot_model(directory / f"assistant_{n}s") for n in RATES)
    return FusedTeacher(
        (high, middle, low), tables, FilmLanguage.load(directory / "language.json"), scale, prior_power, pool
    )
