"""Drafts of a cut: the model's best sequence of shots, and others drawn from what it holds probable.

Music enters as log-likelihoods of a second; the film language says which shot follows which. Draft 0 is the most
probable sequence of the two together, drafts 1, 2, ... are drawn from P(shots | music), each from its own stream of
random numbers, so that draft 3 is the same however many are asked for.

A least length of shots is part of the model, not a filter after it: both the best sequence and the draws are those of
all sequences whose shots last long enough.

Legend: T frames of a second, C shot classes, M least length of a shot in frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.shots.classes import SHOTS
from seqkd.shots.data import shots_of
from seqkd.shots.editing.snap import snap
from seqkd.shots.editing.timecode import RATES, FrameRate
from seqkd.shots.editing.timeline import BEAT, DOWNBEAT, SECTION, Clip, Marker, Timeline, frames_of
from seqkd.shots.language import FilmLanguage
from seqkd.shots.listening.features import Track

_NEVER = -1e30  # log-probability of what cannot be; finite, so that sums of it can be taken apart again
GRIDS = ("beat", "downbeat", "frame")


@dataclass(frozen=True)
class CutSettings:
    """What an editor chooses.

    Attributes:
        rate: Frames a second.
        snap: Where cuts go: to beats, to downbeats (to beats where those are too far), or to the nearest frame.
        min_shot: Seconds that every shot lasts, at least.
        start: Frame from midnight whose timecode the song begins with.
        drafts: How many.
        seed: Of the drawn ones.
    """

    rate: FrameRate = RATES[2]
    snap: str = "beat"
    min_shot: float = 0.5
    start: int = 0
    drafts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.snap not in GRIDS:
            raise ConfigError(f"--snap {self.snap!r} is not known; expected one of {', '.join(GRIDS)}.")
        if not 0 <= self.min_shot < math.inf:
            raise ConfigError(f"--min-shot {self.min_shot} is no length; expected seconds from 0 on.")
        if self.drafts < 1:
            raise ConfigError(f"--drafts {self.drafts} leaves nothing to write; expected 1 or more.")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed} is negative; expected a whole number from 0 on.")


def make_drafts(
    song: str, audio: Path, track: Track, posteriors: np.ndarray, language: FilmLanguage, settings: CutSettings
) -> list[Timeline]:
    """Cut a song, once a draft.

    Args:
        song: What to call it.
        audio: Its file.
        track: What ``analyse`` heard.
        posteriors: (T, C) P(shot | music) of the model, a row a second.
        language: Of the same model.
        settings: What the editor chose.

    Returns:
        Drafts 0 to ``settings.drafts`` - 1.

    Raises:
        ConfigError: The shortest shot is longer than the song.
    """
    if settings.min_shot > track.duration:
        raise ConfigError(
            f"--min-shot {settings.min_shot:g} s is longer than {song!r}, which lasts {track.duration:.2f} s; "
            "choose a shorter one."
        )
    rate = settings.rate
    frames = frames_of(track.duration, rate)
    scores = language.log_likelihood(posteriors)
    smooth = language.posterior(scores)  # (T, C)
    least = min(math.ceil(settings.min_shot - 1e-9), len(scores))
    beats, downbeats = (_on_frames(times, rate, frames) for times in (track.beats, track.downbeats))
    grids = {"beat": (beats,), "downbeat": (downbeats, beats), "frame": ()}[settings.snap]
    markers = _markers(track, rate, frames, beats, downbeats)
    drafts = []
    for number in range(settings.drafts):
        classes = choose(scores, language, number, seed=settings.seed, least=least)
        shots = shots_of(classes)
        cuts = [min(rate.nearest(shot.start), frames) for shot in shots[1:]]
        shortest = math.ceil(settings.min_shot * rate.fps)
        ends = [0, *snap(cuts, frames, grids, minimum=shortest), frames]
        clips = tuple(
            Clip(start, end, shot.kind, _mean(smooth[int(shot.start) : int(shot.end)]))
            for shot, (start, end) in zip(shots, pairwise(ends), strict=True)
        )
        drafts.append(
            Timeline(
                song=song, audio=audio, duration=track.duration, rate=rate, start=settings.start, frames=frames,
                draft=number, clips=clips, markers=markers, tempo=track.tempo,
            )
        )  # fmt: skip
    return drafts


def choose(scores: np.ndarray, language: FilmLanguage, draft: int, *, seed: int = 0, least: int = 1) -> np.ndarray:
    """Classes of a draft, one a second.

    Args:
        scores: (T, C) log P(music_t | shot_t), as by ``FilmLanguage.log_likelihood``.
        language: Which shot follows which.
        draft: 0 for the most probable sequence, else the number of a draw from P(shots | music).
        seed: Of the draws.
        least: M, frames that every shot lasts; of a song shorter than that the one shot lasts throughout.

    Returns:
        (T,) numbers into ``SHOTS``.
    """
    least = max(1, min(least, len(scores)))
    rng = None if draft == 0 else np.random.default_rng([seed, draft])
    if least > 1:
        return long_enough(scores, language, least, rng)
    return language.viterbi(scores) if rng is None else language.sample(scores, rng)


def long_enough(
    scores: np.ndarray, language: FilmLanguage, least: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The best sequence, or a drawn one, of all whose shots last ``least`` (M) frames or more.

    Forwards, the weight of everything up to frame t is summed (or, for the best, maximised) over whether the shot that
    is shown has gone on from t - 1, when it was long enough already, or began M - 1 frames ago; backwards, one of the
    ways is taken. Time and memory grow with T, not with M.

    Args:
        scores: (T, C), as of `choose`; T is at least M.
        language: Which shot follows which.
        least: M.
        rng: Where draws come from; without it the best sequence is found.

    Returns:
        (T,) classes.

    Raises:
        DataError: No such sequence has a probability above 0.
    """
    join = np.max if rng is None else np.logaddexp.reduce
    count, frames = len(language.prior), len(scores)
    with np.errstate(divide="ignore"):
        initial, leave = np.log(language.initial), np.log(language.transition)
    stay = np.maximum(leave.diagonal(), _NEVER)
    np.fill_diagonal(leave, -np.inf)
    sums = np.zeros((frames + 1, count))
    np.cumsum(np.maximum(scores, _NEVER), axis=0, out=sums[1:])
    # [0]: the shot went on; [1]: it began M - 1 frames ago.
    ways = np.full((frames, 2, count), -np.inf)
    weights = np.full((frames, count), -np.inf)
    enter = np.full((frames, count), -np.inf)
    for t in range(frames):
        enter[t] = join(weights[t - 1][:, None] + leave, axis=0) if t else initial
        if t:
            ways[t, 0] = weights[t - 1] + stay + scores[t]
        if (begin := t - least + 1) >= 0:
            ways[t, 1] = enter[begin] + (least - 1) * stay + sums[t + 1] - sums[begin]
        weights[t] = join(ways[t], axis=0)
    if weights[-1].max() < _NEVER / 2:
        raise DataError("No sequence of shots that are long enough has a probability above 0; choose a lower minimum.")
    sequence = np.empty(frames, np.int64)
    t, shot = frames - 1, _pick(weights[-1], rng)
    while True:
        if _pick(ways[t, :, shot], rng) == 0:
            sequence[t] = shot
            t -= 1
            continue
        begin = t - least + 1
        sequence[begin : t + 1] = shot
        if begin == 0:
            return sequence
        t = begin - 1
        shot = _pick(weights[t] + leave[:, shot], rng)


def _pick(weights: np.ndarray, rng: np.random.Generator | None) -> int:
    """The greatest of log-weights, or one drawn in proportion to them."""
    if rng is None:
        return int(weights.argmax())
    shares = np.cumsum(np.exp(weights - weights.max()))
    return int((shares > rng.random() * shares[-1]).argmax())


def _on_frames(times: np.ndarray, rate: FrameRate, frames: int) -> list[int]:
    """Nearest frames of times within the song, each once."""
    found = {rate.nearest(float(time)) for time in times}
    return sorted(frame for frame in found if 0 <= frame < frames)


def _markers(track: Track, rate: FrameRate, frames: int, beats: list[int], downbeats: list[int]) -> tuple[Marker, ...]:
    strong = set(downbeats)
    found = [Marker(frame, DOWNBEAT, DOWNBEAT) for frame in downbeats]
    found += [Marker(frame, BEAT, BEAT) for frame in beats if frame not in strong]
    starts: dict[int, str] = {}
    for section in track.sections:
        starts.setdefault(rate.nearest(float(section.start)), section.label)
    found += [Marker(frame, SECTION, label) for frame, label in starts.items() if 0 <= frame < frames]
    return tuple(sorted(found, key=lambda marker: (marker.frame, marker.kind != SECTION)))


def _mean(rows: np.ndarray) -> tuple[float, ...]:
    """(C,) mean of probabilities, to six digits, which every format writes whole."""
    assert rows.shape[1] == len(SHOTS)
    return tuple(round(float(value), 6) for value in rows.mean(0))
