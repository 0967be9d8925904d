"""What a made-up band plays: sections, tempo, chords, who plays in which bar, and how loud.

A concert recording begins and ends with applause. Between them stand sections of whole bars in four-four time. Each bar
has a chord, an energy, two halves that are sung or not, and may have a lead instrument or a drum fill.

Legend: T one-second frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqkd.errors import ConfigError
from seqkd.shots.data import frame_count

SECTIONS = ("applause", "intro", "verse", "chorus", "bridge", "solo", "outro")
BEATS = 4  # a bar
PHRASE = 4  # bars

# Mean energy of each section, from 0 to 1.
_ENERGY = {"applause": 0.3, "intro": 0.4, "verse": 0.5, "chorus": 0.88, "bridge": 0.28, "solo": 0.78, "outro": 0.45}
# Chance that a bar is sung, in the first and the last two bars of a phrase.
_SUNG = {"verse": (0.95, 0.45), "chorus": (0.95, 0.8), "bridge": (0.7, 0.5), "outro": (0.2, 0.0)}
# Chance that the lead instrument plays in a bar that nobody sings in.
_LEAD = {"intro": 0.5, "verse": 0.5, "chorus": 0.3, "bridge": 0.3, "solo": 1.0, "outro": 0.6}
# Degrees of the scale on which chords are built, a bar each.
_PROGRESSIONS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 3, 4, 3), (0, 5, 3, 4), (5, 4, 3, 4), (0, 2, 3, 4), (1, 4, 0, 5))
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)


@dataclass(frozen=True)
class Bar:
    """One bar: when it starts (s), its section, where it is in it, and what is played.

    ``energy`` is from 0 to 1; ``chord`` are the semitones of a triad above the key; ``sung`` says it of both halves.
    """

    start: float
    section: str
    number: int
    energy: float
    chord: tuple[int, int, int]
    sung: tuple[bool, bool]
    lead: bool
    fill: bool


@dataclass(frozen=True)
class SongScore:
    """A song as it is written. Times in seconds, ``key`` in semitones above C; ``bars`` stand between the applauses."""

    tempo: float
    key: int
    scale: tuple[int, ...]
    bars: tuple[Bar, ...]
    duration: float

    @property
    def bar_seconds(self) -> float:
        """How long a bar lasts."""
        return 60 * BEATS / self.tempo

    @property
    def music_end(self) -> float:
        """Where the last bar ends and the last applause begins."""
        return self.bars[-1].start + self.bar_seconds

    @property
    def beats(self) -> np.ndarray:
        """Times of all beats."""
        starts = np.array([bar.start for bar in self.bars])
        return (starts[:, None] + np.arange(BEATS) * 60 / self.tempo).ravel()


@dataclass(frozen=True)
class Context:
    """What the director knows of each second, all (T,), taken in its middle.

    Attributes:
        section: Number into ``SECTIONS``.
        energy: 0 low, 1 middle, 2 high.
        vocal: Whether somebody sings.
        lead: Whether a lead instrument plays.
        fill: Whether the drummer plays a fill.
        late: Whether it is in the second half of a phrase of four bars.
        downbeat: Whether a bar begins within the second.
        phrase: Whether a phrase of four bars, or a section, begins within the second.
    """

    section: np.ndarray
    energy: np.ndarray
    vocal: np.ndarray
    lead: np.ndarray
    fill: np.ndarray
    late: np.ndarray
    downbeat: np.ndarray
    phrase: np.ndarray

    def __len__(self) -> int:
        return len(self.section)


def write_score(rng: np.random.Generator, seconds: tuple[float, float]) -> SongScore:
    """Write a song that lasts about as many seconds as are drawn between the two limits."""
    tempo = float(rng.uniform(84, 152))
    bar_seconds = 60 * BEATS / tempo
    before, after = rng.uniform(2.0, 6.0), rng.uniform(4.0, 9.0)
    budget = (rng.uniform(*seconds) - before - after) / bar_seconds
    if budget < 8:
        raise ConfigError(f"songs of {seconds[0]:g} to {seconds[1]:g} s are too short; expected at least 40 s.")
    scale = MAJOR if rng.random() < 0.5 else MINOR
    chords = {name: _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))] for name in SECTIONS}
    mood = rng.normal(0.0, 0.06)  # some songs are louder throughout
    bars: list[Bar] = []
    for section, length in _form(rng, int(budget)):
        base = np.clip(_ENERGY[section] + mood + rng.normal(0.0, 0.08), 0.05, 1.0)
        slope = rng.uniform(-0.1, 0.25)
        filled = rng.random() < 0.7
        for number in range(length):
            early = number % PHRASE < PHRASE // 2
            chance = _SUNG.get(section, (0.0, 0.0))[0 if early else 1]
            whole = bool(rng.random() < chance)
            sung = (whole, whole != bool(rng.random() < 0.12))  # lines end or begin in mid-bar now and then
            root = chords[section][number % PHRASE]
            bars.append(
                Bar(
                    start=before + len(bars) * bar_seconds,
                    section=section,
                    number=number,
                    energy=float(np.clip(base + slope * (number / length - 0.5), 0.05, 1.0)),
                    chord=tuple(scale[(root + step) % 7] + 12 * ((root + step) // 7) for step in (0, 2, 4)),
                    sung=sung,
                    lead=bool(not any(sung) and rng.random() < _LEAD.get(section, 0.0)),
                    fill=bool(filled and number == length - 1 and section != "bridge"),
                )
            )
    # In tenths, which are whole samples: the file lasts as long as the score says, to the frame.
    duration = round(before + len(bars) * bar_seconds + after, 1)
    return SongScore(tempo, int(rng.integers(12)), scale, tuple(bars), duration)


def _form(rng: np.random.Generator, budget: int) -> list[tuple[str, int]]:
    """Draw sections and their lengths in bars; they make ``budget`` bars, to within a phrase."""
    form = [("intro", 4 if budget >= 24 else 2)]
    ending = ("outro", 4 if budget >= 24 else 2)
    left = budget - form[0][1] - ending[1]
    unit = 8 if left >= 48 else 4
    turn = 0
    while left >= PHRASE // 2:
        if turn and turn % 4 == 0 and rng.random() < 0.8:
            name = "solo" if rng.random() < 0.5 else "bridge"
        else:
            name = "verse" if form[-1][0] in ("intro", "chorus") and left > unit else "chorus"
        length = min(left, unit if rng.random() < 0.8 else max(4, 12 - unit))
        form.append((name, length))
        left, turn = left - length, turn + 1
    return [*form, ending]


def context_of(score: SongScore) -> Context:
    """Return what the director knows of each second of a song."""
    frames = frame_count(score.duration)
    middles = np.arange(frames) + 0.5
    starts = np.array([bar.start for bar in score.bars])
    here = np.searchsorted(starts, middles, side="right") - 1
    playing = (here >= 0) & (middles < score.music_end)
    bars = [score.bars[max(number, 0)] for number in here]
    half = ((middles - np.array([bar.start for bar in bars])) >= score.bar_seconds / 2).astype(int)

    def column(value: list[object]) -> np.ndarray:
        return np.array(value) * playing

    energy = np.array([bar.energy for bar in bars])
    flags = {name: np.zeros(frames, bool) for name in ("downbeat", "phrase")}
    for bar in score.bars:
        flags["downbeat"][int(bar.start)] = True
        flags["phrase"][int(bar.start)] |= bar.number % PHRASE == 0
    flags["phrase"][int(score.music_end)] = True  # the applause begins
    return Context(
        section=column([SECTIONS.index(bar.section) for bar in bars]),
        energy=column((energy > 0.42).astype(int) + (energy > 0.7)),
        vocal=column([bar.sung[side] for bar, side in zip(bars, half, strict=True)]).astype(bool),
        lead=column([bar.lead for bar in bars]).astype(bool),
        fill=column([bar.fill for bar in bars]).astype(bool),
        late=column([bar.number % PHRASE >= PHRASE // 2 for bar in bars]).astype(bool),
        **flags,
    )
