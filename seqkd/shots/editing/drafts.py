"""Drafts of a cut: the sequence of shots that is expected to be right most often, and others that lean elsewhere.

A network gives the probability of each shot in each second of the song, the film language which shot follows which;
`seqkd.shots.coupling` makes of both how probable a cut is at each second. Draft 0 is the sequence that can expect the
most right seconds and right cuts, of all with as many shots as the model expects, or as ``pace`` asks for
(`seqkd.shots.editing.decision`). Drafts 1, 2, ... each lean towards a sequence drawn from P(shots | song): a second in
which a draft shows the drawn shot is worth ``VARIETY`` more. Each has a stream of random numbers of its own, so that
draft 3 is the same however many are asked for.

Chosen: a right cut is worth a right second; ``VARIETY`` and ``SHORT``. With a director's exact probabilities of made-up
concerts (60 songs, true shots of 3.48 s): draft 0 has shots of 3.54 s and 70.2 % of seconds right; the most likely
whole sequence, of probabilities times bigram, has 7.14 s and 67.3 %.

A least length of shots is part of the choice, not a filter after it.

Legend: T frames of a second, C shot classes, M least length of a shot in frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from seqkd.errors import ConfigError
from seqkd.shots.audio.features import Track
from seqkd.shots.classes import SHOTS
from seqkd.shots.coupling import change_probabilities, coupled, draw
from seqkd.shots.data import shots_of
from seqkd.shots.editing.pace import PacePlan, decide_paced, last_apart, plan_pace, snap_paced
from seqkd.shots.editing.timecode import RATES, FrameRate
from seqkd.shots.editing.timeline import BEAT, DOWNBEAT, SECTION, Clip, Marker, Timeline, frames_of
from seqkd.shots.language import FilmLanguage

VARIETY = 0.3  # of a right second: what a drawn draft adds for showing what was drawn
SHORT = 0.1  # of a right second: what a shot of one second costs, or of the least length
FASTEST = 1.0  # seconds: shots are chosen once a second
GRIDS = ("beat", "downbeat", "frame")


@dataclass(frozen=True)
class CutSettings:
    """What an editor chooses.

    Attributes:
        rate: Frames a second.
        snap: Where cuts go: to beats, to downbeats (to beats where those are too far), or to the nearest frame.
        min_shot: Seconds that every shot lasts, at least.
        pace: Seconds that shots last on average, to 5 %; as the model expects if left out. In a song of fewer than
            ten such shots, those that end with a cut; see `seqkd.shots.editing.pace`.
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
    pace: float | None = None

    def __post_init__(self) -> None:
        if self.snap not in GRIDS:
            raise ConfigError(f"--snap {self.snap!r} is not known; expected one of {', '.join(GRIDS)}.")
        if not 0 <= self.min_shot < math.inf:
            raise ConfigError(f"--min-shot {self.min_shot} is no length; expected seconds from 0 on.")
        if self.pace is not None and not FASTEST <= self.pace < math.inf:
            raise ConfigError(
                f"--pace {self.pace:g} is no mean length of shots; expected seconds, {FASTEST:g} or more."
            )
        if self.pace is not None and self.pace < self.min_shot:
            raise ConfigError(
                f"--pace {self.pace:g} s is below --min-shot {self.min_shot:g} s; choose a shorter least length."
            )
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
        track: The features that ``analyse`` measured.
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
    least = max(1, min(math.ceil(settings.min_shot - 1e-9), len(posteriors)))
    pairs = coupled(posteriors, language.transition, language.stay)
    cuts = np.r_[0.0, change_probabilities(pairs)]  # (T,)
    plan = None
    if settings.pace is not None:
        plan = plan_pace(track.duration, settings.pace, settings.min_shot)
        least = max(1, min(least, math.floor(settings.pace)))  # seconds are coarse; on frames shots get their length
    beats, downbeats = (_on_frames(times, rate, frames) for times in (track.beats, track.downbeats))
    grids = {"beat": (beats,), "downbeat": (downbeats, beats), "frame": ()}[settings.snap]
    markers = _markers(track, rate, frames, beats, downbeats)
    drafts = []
    for number in range(settings.drafts):
        classes = _chosen(posteriors, pairs, number, seed=settings.seed, least=least, plan=plan)
        shots = shots_of(classes)
        places = [min(rate.nearest(shot.start), frames) for shot in shots[1:]]
        shortest = math.ceil(settings.min_shot * rate.fps)
        ends = [0, *snap_paced(places, frames, grids, plan, rate, minimum=shortest), frames]
        clips = tuple(
            Clip(start, end, shot.kind, _mean(posteriors[int(shot.start) : int(shot.end)]))
            for shot, (start, end) in zip(shots, pairwise(ends), strict=True)
        )
        drafts.append(
            Timeline(
                song=song, audio=audio, duration=track.duration, rate=rate, start=settings.start, frames=frames,
                draft=number, clips=clips, markers=markers, tempo=track.tempo,
                confidence=track.confidence,
                note=_why_one(posteriors, cuts, settings, track.duration, least)
                if len(clips) == 1
                else last_apart(plan, ends, rate),
            )
        )  # fmt: skip
    return drafts


def expected_shots(cuts: np.ndarray) -> float:
    """How many shots the model expects: one, and each cut with its probability, of (T,) those before each second."""
    return 1.0 + float(cuts[1:].sum())


def choose(
    posteriors: np.ndarray,
    language: FilmLanguage,
    draft: int,
    *,
    seed: int = 0,
    least: int = 1,
    shots: int | None = None,
) -> np.ndarray:
    """Classes of a draft, one a second.

    Args:
        posteriors: (T, C) P(shot_t | song).
        language: Which shot follows which.
        draft: 0 for the sequence that is expected to be right most often, else the number of one that leans towards a
            sequence drawn from P(shots | song).
        seed: Of the draws.
        least: M, frames that every shot lasts; of a song shorter than that the one shot lasts throughout.
        shots: How many; as many as the model expects if left out.

    Returns:
        (T,) numbers into ``SHOTS``.
    """
    pairs = coupled(posteriors, language.transition, language.stay)
    plan = None if shots is None else PacePlan(shots)
    return _chosen(np.asarray(posteriors, float), pairs, draft, seed=seed, least=least, plan=plan)


def _chosen(
    posteriors: np.ndarray, pairs: np.ndarray, draft: int, *, seed: int, least: int, plan: PacePlan | None
) -> np.ndarray:
    cuts = np.r_[0.0, change_probabilities(pairs)]
    value = posteriors
    if draft:
        drawn = draw(posteriors, pairs, np.random.default_rng([seed, draft]))
        value = posteriors + VARIETY * np.eye(posteriors.shape[1])[drawn]
    plan = plan or PacePlan(max(1, round(expected_shots(cuts))))
    return decide_paced(value, cuts, plan, least=least, short=SHORT)


def _why_one(posteriors: np.ndarray, cuts: np.ndarray, settings: CutSettings, duration: float, least: int) -> str:
    """Why a cut has one shot only, and what to do."""
    frames, expected = len(posteriors), expected_shots(cuts)
    if frames < 2 * least:
        return (
            f"One shot: with --min-shot {settings.min_shot:g} s no two fit into {duration:.1f} s. Choose a shorter one."
        )
    if settings.pace is not None:
        return (
            f"One shot: --pace {settings.pace:g} s asks for no more in {duration:.1f} s. Choose a lower pace for more."
        )
    mean = posteriors.mean(0)
    kind = int(mean.argmax())
    same = float((posteriors.argmax(1) == kind).mean())
    return (
        f"One shot: the model gives {SHOTS[kind]} {100 * mean[kind]:.0f} % on average, the most in {100 * same:.0f} % "
        f"of the seconds, and expects {expected:.1f} shots in {duration:.1f} s. Ask for more with --pace, such as "
        "--pace 4; a song unlike those it was trained on may need a model of its own."
    )


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
