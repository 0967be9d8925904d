"""The stages of every recipe, in order, and how to run one again.

Stage N of ``recipes/run.sh`` is ``STAGES[N]``; a test compares the two lists. Messages name stages, not numbers.
"""

from __future__ import annotations

import os
import shlex

STAGES = ("corpus", "prepare", "teachers", "check", "book", "students", "decode", "score", "report", "export")


def again(stage: str) -> str:
    """``run ./run.sh --stage <stage>``: what a message tells a user whose recipe lacks what that stage makes.

    Where run.sh itself was called with a preset, directories or settings, they are repeated, so that the line can be
    pasted into a shell.
    """
    if stage not in STAGES:
        raise ValueError(f"there is no stage {stage!r}; known: {', '.join(STAGES)}")
    called = os.environ.get("SEQKD_COMMAND", "")
    # $'...' is bash's way to write control characters, which shlex cannot read.
    script, *options = shlex.split(called) if called and "$'" not in called else ["./run.sh"]
    kept: list[str] = []
    words = iter(options)
    for word in words:
        if word in ("--stage", "--stop-stage"):
            next(words, None)
        else:
            kept.append(word)
    return "run " + shlex.join([script, "--stage", stage, *kept])
