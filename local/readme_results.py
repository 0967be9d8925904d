#!/usr/bin/env python3
"""Copy five columns of a RESULTS.md's first table into README.md, between its results markers.

local/readme_results.py egs/espeak_voices/ctc_kd/default/RESULTS.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- results:default -->", "<!-- /results:default -->"
COLUMNS = ("System", "Parameters", "WER % [", "Lead kept", "Minutes a seed")  # as their headings begin


def main(results: Path) -> None:
    """Replace what is between the markers."""
    table = re.search(r"(?:^\|.*\n)+", results.read_text(encoding="utf-8"), re.MULTILINE)
    rows = [line.strip("|").split("|") for line in table[0].splitlines()] if table else [[]]
    headings = [cell.strip() for cell in rows[0]]
    kept = [at for name in COLUMNS for at, heading in enumerate(headings) if heading.startswith(name)]
    if len(kept) != len(COLUMNS):
        sys.exit(f"{results} is no RESULTS.md of a recipe for speech: its table has no columns {', '.join(COLUMNS)}")
    if all(row[headings.index("Seeds")].strip().startswith("1 ") for row in rows[2:]):
        rows[0] = [cell.replace("± seeds", "of one seed") for cell in rows[0]]
    readme = README.read_text(encoding="utf-8")
    if BEGIN not in readme or END not in readme:
        sys.exit(f"README.md needs the lines {BEGIN} and {END}")
    head, rest = readme.split(BEGIN)
    lines = "\n".join("|" + "|".join(row[at] for at in kept) + "|" for row in rows)
    README.write_text(f"{head}{BEGIN}\n{lines}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
