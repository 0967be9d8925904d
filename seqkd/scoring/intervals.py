"""By which method an interval is made, so that tables, pages and score.json can name it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from seqkd.statistics.few import LEAST, interval_of_rate
from seqkd.statistics.resampling import check, in_blocks

BOOTSTRAP, WILSON = "bootstrap", "Wilson"


def method(errors: np.ndarray, words: np.ndarray, blocks: Sequence[Hashable] | None = None) -> str | None:
    """Return by which method `seqkd.statistics.bootstrap.bootstrap_interval` makes an interval; None if by none.

    Args:
        errors: (N,) of each utterance.
        words: (N,) of each utterance.
        blocks: (N,) what is drawn as one, such as its speaker.
    """
    errors, words, _ = check(errors, words)
    rows = in_blocks([errors, words], blocks)
    if len(rows) < LEAST:
        return None
    return WILSON if interval_of_rate(*rows.T) is not None else BOOTSTRAP


def sentence(methods: Mapping[str, str | None], units: str, replicates: int, seed: int) -> str:
    """Say which systems have intervals by which method; nothing where none has one.

    Args:
        methods: by the name of the system.
        units: over what, such as ``utterances``.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    texts = {
        BOOTSTRAP: f"bootstrap over {units}, {replicates} replicates, seed {seed}",
        WILSON: f"Wilson's over {units}",
    }
    parts = {kind: [name for name, one in methods.items() if one == kind] for kind in texts}
    used = [kind for kind in texts if parts[kind]]
    if len(used) > 1:
        return "; ".join(f"{texts[kind]} ({', '.join(parts[kind])})" for kind in used)
    return texts[used[0]] if used else ""
