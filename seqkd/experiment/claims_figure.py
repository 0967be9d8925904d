"""One picture of all claims: what each system gains over its control, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seqkd.experiment.claims import Claim, Verdict
from seqkd.experiment.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"shown": "#009E73", "contrary": "#D55E00", "not shown": "#7F7F7F"}
_LETTERS = 70  # of a claim


def draw_claims(found: Sequence[tuple[Claim, Verdict]]) -> Figure | None:
    """Draw a row a claim: the gain over the control and its 95 % interval, coloured by the verdict.

    A hollow mark has an interval over test items only, which says nothing of another training. Claims without numbers
    are left out; None if all are.
    """
    rows = [(claim, one) for claim, one in found if one.gain]
    if not rows:
        return None
    figure, (axes,) = new_figure(1, 9.5, 1.3 + 0.26 * len(rows))
    for row, (_, one) in enumerate(rows):
        value, low, high = (100 * end for end in one.gain)
        colour, alone = _COLOURS[one.word], one.seeds == "1"
        axes.plot([low, high], [row, row], color=colour, linewidth=2, alpha=0.5 if alone else 1, solid_capstyle="butt")
        axes.plot(value, row, "o", color=colour, markerfacecolor="white" if alone else colour, markersize=6)
    axes.axvline(0, color="black", linewidth=0.8)
    papers = [claim.paper.partition(",")[0].partition(" (")[0] for claim, _ in rows]
    labels = [f"{_short(claim.claim)}  ({paper})" for (claim, _), paper in zip(rows, papers, strict=True)]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color="#7F7F7F", alpha=0.25, linewidth=0.6)
    about = "errors of the control that the system avoids, % (of BLEU: what it adds); right is better"
    figure.supxlabel(about, fontsize=9)
    for word, colour in _COLOURS.items():
        axes.plot([], [], "o", color=colour, label=word)
    axes.plot([], [], "o", color=_COLOURS["not shown"], markerfacecolor="white", label="one seed: over test items only")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1].rsplit(' ', 1)[0]} …"
