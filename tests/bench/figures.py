"""Draws the benchmark tables as docs/images/ctc_speed.png, scorer_speed.png, book_cost.png and book_forms.png.

    python -m tests.bench.figures

It measures nothing: run it after ctc_cpu.py, wer.py, book_cost.py or book.py has written its table.
"""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
OURS, THEIRS, GREY = "#34547a", "#b8c6d6", "#33475e"


def rows_of(table: Path, number: int = 1) -> list[list[str]]:
    """The cells of a Markdown file's first table, or of another one, without its head."""
    part = table.read_text(encoding="utf-8").split("\n\n| ")[number].partition("\n\n")[0]
    lines = [line for line in part.splitlines() if "|" in line]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def ctc() -> Figure:
    """How many times as fast as torch's operator, one thread, forward and backward, by shape."""
    found = {}
    for name, threads, *_, ratio in rows_of(HERE / "ctc_cpu.md"):
        if threads == "1" and "value only" not in name and re.search(r"B\d", name):
            found[name] = float(ratio.rstrip("x"))
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    names = sorted(found, key=found.__getitem__)
    axes.barh(names, [found[name] for name in names], color=OURS, height=0.62)
    for place, name in enumerate(names):
        axes.annotate(f" {found[name]:.1f}", (found[name], place), va="center", fontsize=9, color=GREY)
    axes.axvline(1, color=GREY, linewidth=1, linestyle="--")
    axes.set_xlabel(
        "times as fast as torch's operator; 1 thread, value and gradient\nB utterances, T frames, C classes, S labels"
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scorer() -> Figure:
    """Seconds of each scorer for the same transcripts, WER."""
    shown = ("seqkd, compiled", "jiwer", "kaldialign", "meeteval")
    found: dict[str, dict[str, float]] = {}
    for size, what, who, seconds, *_ in rows_of(HERE / "wer.md"):
        if what == "WER" and who.startswith(shown) and re.fullmatch(r"[\d.]+", seconds):
            found.setdefault(size, {})[who.partition(" (")[0]] = float(seconds)
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    for number, (size, seconds) in enumerate(found.items()):
        axes = figure.add_subplot(2, 2, number + 1)
        names = list(reversed(seconds))
        colours = [OURS if name.startswith("seqkd") else THEIRS for name in names]
        axes.barh([name.replace(", compiled", "") for name in names], [seconds[n] for n in names], color=colours)
        for place, name in enumerate(names):
            axes.annotate(f" {seconds[name]:.3f}", (seconds[name], place), va="center", fontsize=8, color=GREY)
        axes.set_title(size.replace("x", "×"), loc="left", fontsize=9)
        axes.margins(x=0.18)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("seconds for the word alignments (meeteval: counts only), 1 thread", fontsize=9)
    return figure


def book_cost() -> Figure:
    """CPU time that the teacher costs, by how many students learn from it: live, and by a book."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for corpus, students, *_, live, book, _ratio in rows_of(HERE / "book_cost.md", 2):
        found.setdefault(corpus, []).append((int(students), float(live), float(book)))
    figure = Figure(figsize=(7.5, 3.0), layout="constrained")
    for number, (corpus, rows) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), number + 1)
        students, live, book = zip(*rows, strict=True)
        axes.plot(students, live, "o-", color=GREY, label="teacher beside each student")
        axes.plot(students, book, "s-", color="#d55e00", label="one book for all")
        axes.set_title(corpus, loc="left", fontsize=9)
        axes.set_xlabel("students")
        axes.set_xticks(students)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        if not number:
            axes.set_ylabel("minutes of CPU for the teacher")
            axes.legend(frameon=False, fontsize=8)
    return figure


def book_forms() -> Figure:
    """How exact each form of the book is, by the bits that a frame takes."""
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for kind, mark, colour in (("dense", "D", GREY), ("top-k", "o", OURS), ("sampled", "s", "#d55e00")):
        rows = [row for row in rows_of(HERE / "book.md") if row[0].startswith(kind)]
        bits = [float(row[1].replace(",", "")) for row in rows]
        errors = [float(row[5]) for row in rows]
        axes.plot(bits, errors, f"{mark}-", color=colour, label={"sampled": "draws (unbiased)"}.get(kind, kind))
        for row, x, y in zip(rows, bits, errors, strict=True):
            axes.annotate(f"  {row[0].removeprefix(kind)}", (x, y), va="bottom", fontsize=8, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="bits a frame, 500 classes", ylabel="mean Σ |stored − teacher's|")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Draw all."""
    drawn = {"ctc_speed": ctc(), "scorer_speed": scorer(), "book_cost": book_cost(), "book_forms": book_forms()}
    for name, figure in drawn.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=110)
        print(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
