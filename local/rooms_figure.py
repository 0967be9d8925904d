"""Draws the layers of `seqkd`, as pyproject.toml has them for lint-imports, as docs/images/rooms.svg.

python local/rooms_figure.py
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
ABOUT = {
    "cli": "command lines",
    "tasks": "what speech, translation, shots and classification each hand in",
    "corpora | deploy": "data made, fetched or imported; models as files that run elsewhere",
    "translation | shots | classification": "what one task alone needs",
    "training": "one step, one loop, one run, one study",
    "teachers": "trained or imported; their stored outputs",
    "experiment | decoding": "runs read and reported; from outputs to words",
    "task | models | knowledge": "the protocol of a task; networks; the format of a book",
    "data": "features, units, batches of speech",
    "scoring": "word error rates, without torch",
    "losses | statistics": "terms and objectives; measures, bootstrap, tests",
    "ctc": "the loss and its kernels",
}
HEIGHT, GAP = 28, 7
STYLE = (
    ".box{fill:#f4f7fb;stroke:#34547a;stroke-width:1.3}.name{font-size:14px;font-weight:bold;fill:#1d2f45}"
    ".text{font-size:13px;fill:#33475e}.line{stroke:#34547a;stroke-width:1.8;fill:none;marker-end:url(#tip)}"
)
TIP = '<path d="M0 0 8 4 0 8z" fill="#34547a"/>'


def layers() -> list[str]:
    """The lines of the contract, from the top, down to the small tools."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.findall(r'^    "(.+?)",?', text[text.index("\nlayers = [") :].split("\n]")[0], re.MULTILINE)
    return found[: found.index("ctc") + 1]


def picture() -> str:
    """The figure."""
    names = layers()
    height = len(names) * (HEIGHT + GAP) + 46
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" role="img" '
        'aria-label="The packages of seqkd as layers; each imports only what is below it" '
        'font-family="Helvetica, Arial, sans-serif">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'orient="auto">{TIP}</marker></defs>',
        f'<rect width="860" height="{height}" fill="#ffffff"/>',
        f'<path class="line" d="M38 20V{height - 44}"/>',
        f'<text class="text" transform="translate(28 {height // 2}) rotate(-90)" text-anchor="middle">imports</text>',
    ]
    for number, name in enumerate(names):
        y = 14 + number * (HEIGHT + GAP)
        lines += [
            f'<rect class="box" x="62" y="{y}" width="784" height="{HEIGHT}" rx="6"/>',
            f'<text class="name" x="76" y="{y + 19}">{escape(name)}</text>',
            f'<text class="text" x="352" y="{y + 19}">{escape(ABOUT[name])}</text>',
        ]
    note = (
        "A package imports only what is below it. Those on one line do not import each other. lint-imports checks it."
    )
    return "\n".join([*lines, f'<text class="text" x="62" y="{height - 12}">{note}</text>', "</svg>"]) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "images" / "rooms.svg").write_text(picture(), encoding="utf-8")
