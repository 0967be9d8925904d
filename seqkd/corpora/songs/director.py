"""A director whose taste is known: shots drawn from P(shot | song, previous shot), and what that makes attainable.

In each second t the director chooses shot j after shot i with probability

    P(j | i, x_t) = softmax_j( sharpness · utility_j(x_t) + grammar_ij + stay(x_t) · [i = j] ),

x_t being what is heard in that second (``Context``): section, energy, whether somebody sings or a lead instrument or a
drum fill plays, and where in the bar and the phrase it is. The first second has no previous shot: softmax of the
utility alone. Shots are therefore a Markov chain given the song, and everything below is exact, by recursion over time.

The grammar discourages what editors avoid: a cut to the neighbouring size of shot, and between the closest and widest.

Legend: T one-second frames, S = 8 shots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqkd.corpora.songs.songwriting import SECTIONS, Context
from seqkd.shots.classes import SHOTS

S = len(SHOTS)

# Utilities of CU, MCU, MS, MLS, LS, XLS, ADS, MIS.
_SECTION = {
    "applause": (-1.0, -1.0, -0.5, 0.0, 0.3, 1.0, 2.2, -1.5),
    "intro": (-0.8, -0.5, 0.0, 0.2, 0.9, 1.5, 0.0, 0.7),
    "verse": (0.4, 1.0, 0.9, 0.0, -0.2, -0.6, -0.6, -0.2),
    "chorus": (-0.3, 0.0, 0.3, 1.2, 0.9, 0.1, 0.5, -0.4),
    "bridge": (1.3, 0.5, 0.0, -0.4, -0.2, 0.5, -0.6, -0.2),
    "solo": (-0.3, -0.3, 0.7, 0.2, 0.0, -0.4, -0.2, 1.4),
    "outro": (-0.8, -0.5, 0.0, 0.3, 1.4, 1.0, 0.6, 0.0),
}
_VOCAL = (0.9, 0.8, 0.3, 0.3, -0.3, -0.6, -0.6, -1.4)
_LEAD = (-0.4, -0.4, 0.2, 0.0, -0.2, -0.3, -0.2, 1.6)
_FILL = (-0.3, -0.3, 0.0, 0.0, 0.0, 0.0, 0.4, 1.2)
_LATE = (0.3, -0.4, 0.3, -0.3, 0.4, 0.1, 0.5, 0.1)
_ENERGY = (
    (0.6, 0.4, 0.0, -0.3, -0.2, 0.3, -0.6, 0.0),
    (0.0, 0.0, 0.2, 0.1, 0.0, -0.1, 0.0, 0.0),
    (-0.5, -0.2, 0.0, 0.5, 0.4, 0.1, 0.7, 0.0),
)


@dataclass(frozen=True)
class Director:
    """The parameters of the formula above.

    Attributes:
        seed: Of the taste: how much the utilities depart from the house style.
        sharpness: How strictly the song decides; at 0 it plays no part.
        taste: Standard deviation of that departure.
        stay: Log-odds in favour of the present shot.
        downbeat: What of it is left out in a second in which a bar begins.
        phrase: What more is left out where a phrase or a section begins.
        vocal: What is added while somebody sings.
        energy: What is left out for each level of energy above the low one.
        jump: Against a cut to the neighbouring size, and between close-up and extreme long shot.
    """

    seed: int = 0
    sharpness: float = 2.1
    taste: float = 0.15
    stay: float = 2.5
    downbeat: float = 0.8
    phrase: float = 1.2
    vocal: float = 0.3
    energy: float = 0.3
    jump: float = 0.8

    def utilities(self, context: Context) -> np.ndarray:
        """(T, S) utility of each shot in each second."""
        rng = np.random.default_rng([self.seed, 7])
        tables = [np.array([_SECTION[name] for name in SECTIONS]), np.array(_ENERGY)]
        tables += [np.array([row]) for row in (_VOCAL, _LEAD, _FILL, _LATE)]
        section, energy, *cues = (table + self.taste * rng.standard_normal(table.shape) for table in tables)
        total = section[context.section] + energy[context.energy] * (context.section > 0)[:, None]
        for flags, cue in zip((context.vocal, context.lead, context.fill, context.late), cues, strict=True):
            total = total + flags[:, None] * cue
        return total

    def grammar(self) -> np.ndarray:
        """(S, S) log-odds of each cut; sizes are the first six shots, from the closest to the widest."""
        table = np.zeros((S, S))
        sizes = np.arange(6)
        table[sizes[:-1], sizes[1:]] = table[sizes[1:], sizes[:-1]] = -self.jump
        table[0, 5] = table[5, 0] = -self.jump
        return table

    def transitions(self, context: Context) -> tuple[np.ndarray, np.ndarray]:
        """Return P(first shot) (S,) and P(j | i) in each second (T, S, S); the first second's is of no use."""
        utility = self.sharpness * self.utilities(context)
        stay = (
            self.stay
            - self.downbeat * context.downbeat
            - self.phrase * context.phrase
            + self.vocal * context.vocal
            - self.energy * context.energy
        )
        scores = utility[:, None, :] + self.grammar() + stay[:, None, None] * np.eye(S)  # (T, S, S)
        return _softmax(utility[0]), _softmax(scores)

    def direct(self, context: Context, rng: np.random.Generator) -> np.ndarray:
        """Draw the shots of a song: (T,) numbers into ``SHOTS``."""
        initial, transition = self.transitions(context)
        draws = rng.random(len(context))
        shots = np.empty(len(context), np.int64)
        row = initial
        for t, draw in enumerate(draws):
            shots[t] = min(int(np.searchsorted(np.cumsum(row), draw, side="right")), S - 1)
            row = transition[t + 1, shots[t]] if t + 1 < len(draws) else row
        return shots


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
