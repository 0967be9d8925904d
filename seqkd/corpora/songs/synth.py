"""From a score to sound: who plays what in each bar, and the mix.

What the director hears can be heard in the mix, but not trivially: bands differ in their sounds and balance from song
to song, energy changes the drums and the level at once, the lead instrument plays in the range of the voice, the
audience is there all the time, and the recording's level says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seqkd.corpora.songs import instruments
from seqkd.corpora.songs.songwriting import BEATS, Bar, SongScore
from seqkd.shots.audio.spectrum import RATE

# Relative amplitudes of harmonics: sine-like, organ, clarinet, string, brass.
_TIMBRES = (
    (1.0, 0.3, 0.1),
    (1.0, 0.6, 0.5, 0.3, 0.2, 0.15),
    (1.0, 0.05, 0.6, 0.05, 0.3, 0.03, 0.15),
    (1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1),
    (0.6, 0.9, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1),
)


@dataclass(frozen=True)
class Band:
    """Who plays: timbres by number, pitch of the voice, levels, and how sloppy the timing is (s)."""

    bass: int
    chords: int
    lead: int
    strum: bool
    voice_pitch: int
    voice_level: float
    lead_level: float
    audience: float
    hall: float
    jitter: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Band:
        """Put a band together."""
        return Band(
            bass=int(rng.integers(2)),
            chords=int(rng.integers(1, 4)),
            lead=int(rng.integers(1, 5)),
            strum=bool(rng.random() < 0.6),
            voice_pitch=int(rng.integers(53, 66)),
            voice_level=float(rng.uniform(0.5, 1.0)),
            lead_level=float(rng.uniform(0.25, 0.5)),
            audience=float(rng.uniform(0.02, 0.1)),
            hall=float(rng.uniform(0.15, 0.45)),
            jitter=float(rng.uniform(0.0, 0.01)),
        )


def render(score: SongScore, rng: np.random.Generator) -> np.ndarray:
    """Play a score: float32 samples (N,) at 22,050 Hz whose greatest is between .3 and .9."""
    band = Band.draw(rng)
    count = round(score.duration * RATE)
    track = np.zeros(count, np.float32)
    players = (_drums(score, band, rng), _backing(score, band), _lead(score, band, rng))
    for bar in score.bars:
        for play in players:
            play(track, bar)
    voice = instruments.voice(_melody(score, band, rng), count, rng)
    track += 1.6 * band.voice_level * voice
    track = instruments.reverberate(track, rng.uniform(0.5, 1.2), band.hall, rng)
    track += instruments.applause(_audience(score, band, rng), rng)[:count]
    return (track * (rng.uniform(0.3, 0.9) / max(float(np.abs(track).max()), 1e-6))).astype(np.float32)


Player = Callable[[np.ndarray, Bar], None]
"""Adds one bar to a track."""


def _drums(score: SongScore, band: Band, rng: np.random.Generator) -> Player:
    beat = 60 / score.tempo
    kick, snare, crash = instruments.kick(), instruments.snare(rng), instruments.hat(rng, 0.5)
    hats = [instruments.hat(rng, 0.03) for _ in range(4)]
    toms = [instruments.tom(pitch) for pitch in (50, 46, 42, 38)]
    busy = rng.random() < 0.5

    def play(track: np.ndarray, bar: Bar) -> None:
        def hit(sound: np.ndarray, beats: float, level: float) -> None:
            at = bar.start + beats * beat + band.jitter * rng.standard_normal()
            instruments.add(track, sound, at, level * loud * rng.uniform(0.85, 1.15))

        loud = 0.3 + 0.7 * bar.energy
        if bar.number == 0 and bar.energy > 0.4:
            hit(crash, 0, 0.5)
        if bar.energy < 0.2:
            hit(hats[0], 0, 0.4)  # somebody keeps the time, just
            hit(hats[1], 2, 0.3)
            return
        for position in (0, 2) if not busy else (0, 1.5, 2):
            hit(kick, position, 1.0)
        if bar.energy > 0.35:
            for position in (1, 3):
                hit(snare, position, 0.7)
        if bar.fill:
            for step in range(8):
                hit(toms[step // 2], 2 + step / 4, 0.8)
        step = 0.5 if bar.energy > 0.45 else 1.0
        for number in range(int(BEATS / step) // (2 if bar.fill else 1)):
            hit(hats[number % 4], number * step, 0.35)

    return play


def _backing(score: SongScore, band: Band) -> Player:
    """Bass and chords; equal bars are rendered once."""
    beat = 60 / score.tempo
    known: dict[tuple[object, ...], np.ndarray] = {}

    def sound(pitch: int, beats: float, timbre: int, decay: float, attack: float) -> np.ndarray:
        key = (pitch, beats, timbre, decay)
        if key not in known:
            known[key] = instruments.tone(pitch, beats * beat, _TIMBRES[timbre], decay, attack)
        return known[key]

    def play(track: np.ndarray, bar: Bar) -> None:
        root = 36 + (score.key + bar.chord[0]) % 12
        steps = 8 if bar.energy > 0.6 else 4 if bar.energy > 0.3 else 1
        for number in range(steps):
            note = sound(root, BEATS / steps * 0.95, band.bass, 0.6, 0.01)
            instruments.add(track, note, bar.start + number * BEATS / steps * beat, 0.35 + 0.15 * bar.energy)
        strums = (4 if bar.energy > 0.6 else 2) if band.strum else 1
        for tone in bar.chord:
            pitch = 57 + (score.key + tone) % 12
            note = sound(pitch, BEATS / strums, band.chords, 0.5 if band.strum else 3.0, 0.01 if band.strum else 0.15)
            for number in range(strums):
                instruments.add(track, note, bar.start + number * BEATS / strums * beat, 0.07 + 0.13 * bar.energy)

    return play


def _lead(score: SongScore, band: Band, rng: np.random.Generator) -> Player:
    beat = 60 / score.tempo

    def play(track: np.ndarray, bar: Bar) -> None:
        if not bar.lead:
            return
        pitch = 69 + (score.key + bar.chord[rng.integers(3)]) % 12
        position = 0.0
        while position < BEATS:
            length = float(rng.choice((0.25, 0.5, 1.0), p=(0.3, 0.5, 0.2)))
            note = instruments.tone(pitch, length * beat, _TIMBRES[band.lead], 0.8)
            instruments.add(track, note, bar.start + position * beat, band.lead_level)
            pitch = _step(pitch, score, rng, 66, 88)
            position += length

    return play


def _melody(score: SongScore, band: Band, rng: np.random.Generator) -> list[tuple[float, float, float, int]]:
    """The singer's notes: start and length in seconds, pitch and vowel."""
    beat = 60 / score.tempo
    pitch = band.voice_pitch
    notes = []
    for bar in score.bars:
        top = band.voice_pitch + (9 if bar.energy > 0.7 else 5)  # choruses are sung higher
        for half, sung in enumerate(bar.sung):
            position = 0.0
            while sung and position < BEATS / 2:
                length = min(float(rng.choice((0.5, 1.0, 2.0), p=(0.45, 0.4, 0.15))), BEATS / 2 - position)
                start = bar.start + (half * BEATS / 2 + position) * beat + band.jitter * rng.standard_normal()
                notes.append((max(start, 0.0), 0.92 * length * beat, float(pitch), int(rng.integers(5))))
                pitch = _step(pitch, score, rng, band.voice_pitch - 4, top)
                position += length
    return notes


def _step(pitch: int, score: SongScore, rng: np.random.Generator, low: int, high: int) -> int:
    """Another note of the scale, at most a fourth away, within the range."""
    scale = {(score.key + degree) % 12 for degree in score.scale}
    near = [other for other in range(pitch - 5, pitch + 6) if other % 12 in scale and low <= other <= high]
    return int(rng.choice(near)) if near else (low + high) // 2


def _audience(score: SongScore, band: Band, rng: np.random.Generator) -> np.ndarray:
    """How loud the audience is in each second (T,): at both ends, a little all the time, and where a chorus begins."""
    middles = np.arange(int(np.ceil(score.duration))) + 0.5
    level = np.full(len(middles), band.audience)
    cheering = rng.uniform(0.5, 1.0)
    first, last = score.bars[0].start, score.music_end
    level += cheering * np.clip((first - middles) / 2 + 0.5, 0, 1)
    level += cheering * np.clip((middles - last) / 2 + 0.5, 0, 1)
    for bar in score.bars:
        if bar.section == "chorus" and bar.number == 0 and rng.random() < 0.6:
            level += 0.3 * cheering * np.exp(-0.5 * ((middles - bar.start) / 1.5) ** 2)
    return level
