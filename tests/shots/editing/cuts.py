"""A made-up song's cut, for the tests of what is written from it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from seqkd.shots.audio.features import Track
from seqkd.shots.audio.structure import Section
from seqkd.shots.classes import SHOTS
from seqkd.shots.editing.drafts import CutSettings, make_drafts
from seqkd.shots.editing.timecode import FrameRate
from seqkd.shots.editing.timeline import Clip, Timeline, frames_of
from seqkd.shots.language import FilmLanguage

HOUR = "01:00:00:00"
LANGUAGE = FilmLanguage(np.full(8, 1 / 8), np.full((8, 8), 0.05) + 0.6 * np.eye(8), np.full(8, 1 / 8))


def a_track(seconds: float = 61.3, beat: float = 0.48, seed: int = 0) -> tuple[Track, np.ndarray]:
    """A track with a beat, bars and two sections, and the posteriors (T, 8) of a model that is fairly sure."""
    rng = np.random.default_rng(seed)
    frames = int(np.ceil(seconds))
    shots = LANGUAGE.sample(np.zeros((frames, 8)), rng)
    posteriors = 0.5 * rng.dirichlet(np.full(8, 0.5), frames) + 0.5 * np.eye(8)[shots]
    beats = np.arange(0.2, seconds, beat)
    sections = (Section(0.0, seconds / 3, "A"), Section(seconds / 3, seconds, "B"))
    track = Track(np.zeros((frames, 3), np.float32), ["a", "b", "c"], beats, beats[::4], sections, seconds, 60 / beat)
    return track, posteriors


def some_drafts(
    rate: FrameRate, *, song: str = "a song", audio: Path = Path("a song.wav"), start: int = 0, seconds: float = 61.3,
    drafts: int = 1, snap: str = "beat",
) -> list[Timeline]:  # fmt: skip
    """Drafts of the made-up song."""
    settings = CutSettings(rate=rate, snap=snap, start=start, drafts=drafts)
    return make_drafts(song, audio, *a_track(seconds), LANGUAGE, settings)


def a_cut(rate: FrameRate, song: str = "a song", audio: Path = Path("a song.wav")) -> Timeline:
    """The best draft of the made-up song, beginning at one o'clock."""
    return some_drafts(rate, song=song, audio=audio, start=rate.parse(HOUR))[0]


def a_long_cut(rate: FrameRate, seconds: float = 1260.7) -> Timeline:
    """Twenty-one minutes in shots of 3 to 11 seconds, beginning at one o'clock."""
    frames = frames_of(seconds, rate)
    edges = [0, *(rate.nearest(time) for time in np.arange(3.0, seconds - 11, 7) + 4 * np.sin(np.arange(179))), frames]
    clips = tuple(
        Clip(start, end, SHOTS[number % 8], (0.125,) * 8) for number, (start, end) in enumerate(pairwise(edges))
    )
    return Timeline("a song", Path("a song.wav"), seconds, rate, rate.parse(HOUR), frames, 0, clips)


def spans(cut: Timeline) -> list[tuple[int, int, str]]:
    """What every format must say."""
    return [(clip.start, clip.end, clip.kind) for clip in cut.clips]
