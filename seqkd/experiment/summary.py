"""The few columns of a RESULTS.md that fit a terminal or a page of all recipes."""

from __future__ import annotations

import re

KEPT = ("System", "Parameters", "Seeds", "Lead kept")


def short_table(text: str) -> list[list[str]]:
    """Return the first table of a RESULTS.md, row by row, the heading first, cut to a few columns; [] without one.

    Kept are those of ``KEPT`` and the measure that is compared, whose values are bold.
    """
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    if not table:
        return []
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[0].splitlines()]
    bold = [at for at in range(len(rows[0])) if any("**" in row[at] for row in rows[2:])][:1]
    kept = [at for at, heading in enumerate(rows[0]) if heading in KEPT or at in bold]
    return [[row[at] for at in kept] for row in rows[:1] + rows[2:]]


def for_terminal(text: str) -> str:
    """Return that table in aligned columns, numbers to the right, and below it what the tables show."""
    rows = [[cell.replace("**", "") for cell in row] for row in short_table(text)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        numbers = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *numbers]))
    findings = re.search(r"^## What the tables show\n+(.*?)\n+(?=## |\Z)", text, re.MULTILINE | re.DOTALL)
    return "\n".join(lines) + (f"\n\n{findings[1].replace('**', '')}" if findings else "")
