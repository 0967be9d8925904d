"""What an alignment is made of: numbered tokens, the operations, and what each operation costs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seqkd.errors import ConfigError

MATCH, SUBSTITUTION, DELETION, INSERTION = range(4)
LEFT_OUT = 4  # an optionally deletable word without a counterpart: correct
_LARGEST = 1 << 14


class Costs(NamedTuple):
    """What a substitution, a deletion and an insertion cost; ``FEWEST`` is no such triple but an order."""

    substitution: int
    deletion: int
    insertion: int

    def __str__(self) -> str:
        return ",".join(map(str, self)) if self.substitution else "fewest errors, then fewest substitutions"


FEWEST = Costs(0, 0, 0)  # fewest errors and, among those, fewest substitutions
SCLITE = Costs(4, 3, 3)


def parse_costs(text: str) -> Costs:
    """Read ``4,3,3``: whole numbers from 1 on for a substitution, a deletion, an insertion."""
    if not re.fullmatch(r"\d{1,5},\d{1,5},\d{1,5}", text) or not all(0 < int(c) <= _LARGEST for c in text.split(",")):
        raise ConfigError(
            f"costs are {text!r}; expected those of a substitution, a deletion and an insertion, whole numbers "
            f"from 1 to {_LARGEST}, as in 4,3,3 (sclite's)"
        )
    return Costs(*map(int, text.split(",")))


@dataclass(frozen=True)
class Tokens:
    """The tokens of N utterances: ``ids`` (T,) of int32, one utterance after the other; ``offsets`` (N + 1,)."""

    ids: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each utterance, (N,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, utterance: int) -> np.ndarray:
        return self.ids[self.offsets[utterance] : self.offsets[utterance + 1]]
