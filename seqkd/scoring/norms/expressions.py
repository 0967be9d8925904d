"""Rules of one's own: lines of ``pattern => replacement``, regular expressions of Python."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from seqkd.errors import DataError
from seqkd.scoring.formats.reading import Reading


def read_expressions(path: Path | str, reading: Reading | None = None) -> tuple[Callable[[str], str], str]:
    r"""Read rules, which are applied one after the other, each wherever its pattern matches.

    A line is ``pattern => replacement``, ``\1`` in the latter stands for a group; the replacement may be empty. A line
    that begins with ``;;`` is a comment.

    Returns:
        What changes a transcript, and a digest of the rules.

    Raises:
        DataError: a line is none of this, a pattern is no regular expression or a group is none of it.
    """
    rules: list[tuple[re.Pattern[str], str]] = []
    for number, line in (reading or Reading()).lines(path):
        if not line.strip() or line.startswith(";;"):
            continue
        source, arrow, target = line.partition("=>")
        source, target = source.strip(), target.strip()
        if not arrow or not source:
            raise DataError(f"{path}, line {number}: found {line.strip()!r}; expected pattern => replacement.")
        try:
            pattern = re.compile(source)
            pattern.sub(target, "")
            _check(pattern, target)
        except (re.error, IndexError) as fault:
            raise DataError(f"{path}, line {number}: {line.strip()!r} is no rule ({fault}).") from None
        rules.append((pattern, target))
    if not rules:
        raise DataError(f"{path} holds no rules; expected on each line pattern => replacement.")

    def change(text: str) -> str:
        for pattern, target in rules:
            text = pattern.sub(target, text)
        return text

    content = repr([(pattern.pattern, target) for pattern, target in rules])
    return change, hashlib.sha256(content.encode()).hexdigest()[:8]


def _check(pattern: re.Pattern[str], target: str) -> None:
    """Fail where the replacement names a group that the pattern lacks, even if nothing matches yet."""
    for found in re.finditer(r"\\(?:(\d{1,2})|g<(\w+)>)", target):
        name = found[1] or found[2]
        if name.isdecimal() and int(name) > pattern.groups:
            raise re.error(f"there is no group {name}")
        if not name.isdecimal() and name not in pattern.groupindex:
            raise re.error(f"there is no group {name}")
