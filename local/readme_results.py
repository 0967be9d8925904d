#!/usr/bin/env python3
"""Copy the table and the findings of a RESULTS.md into README.md, between its results markers.

local/readme_results.py egs/espeak_voices/ctc_kd/exp/default/RESULTS.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- results:default -->", "<!-- /results:default -->"


def main(results: Path) -> None:
    """Replace what is between the markers."""
    text = results.read_text(encoding="utf-8")
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    findings = re.search(r"^## What the tables show\n+(.*?)\n+(?=## )", text, re.MULTILINE | re.DOTALL)
    if not (table and findings):
        sys.exit(f"{results} is no RESULTS.md of 'seqkd report'")
    readme = README.read_text(encoding="utf-8")
    if BEGIN not in readme or END not in readme:
        sys.exit(f"README.md needs the lines {BEGIN} and {END}")
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    README.write_text(f"{head}{BEGIN}\n{table[0]}\n{findings[1]}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
