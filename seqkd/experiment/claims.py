"""The ledger: each published claim beside what our own tables show of it, as one generated page.

A file of claims (``local/claims.yaml``) says, for each, the paper, its number, and which two systems of which recipe it
is about; every number of ours comes from the ``RESULTS.json`` of the recipe's report.

    - paper: Cons-KD
      source: IEEE Access 2024, 10.1109/access.2024.3457859
      claims:
        - claim: fewer errors than distillation with one pass, at equal updates
          published: WER 5.10 → 4.13
          recipe: egs/espeak_voices/ctc_kd
          preset: study
          system: cons_kd
          control: kd
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seqkd.errors import ConfigError
from seqkd.experiment.findings import p, signed
from seqkd.experiment.numbers import Numbers
from seqkd.settings import did_you_mean, one_of
from seqkd.statistics.bootstrap import LEVEL, Difference

LEAST_SEEDS = 2  # of a single training, nothing is known of another
_NEEDED = ("claim", "published", "recipe", "preset", "system", "control")
_OPTIONAL = ("measure", "seeds", "results")


@dataclass(frozen=True)
class Claim:
    """One claim, and the comparison that is to show it: that ``system`` does better than ``control``.

    Attributes:
        paper, source: where it was published.
        claim: in words.
        published: the paper's number, in words.
        recipe, preset: whose runs are looked at; a recipe is a directory, relative to the repository.
        system, control: names of systems of that preset that its report compares.
        measure: key of one of the measures in which they are compared; None for the first.
        seeds: of either system at least, before anything counts as shown.
        results: where the numbers are, relative to the recipe, if not in ``RESULTS.json`` of the preset default or
            ``<preset>/RESULTS.json`` of another.
    """

    paper: str
    source: str
    claim: str
    published: str
    recipe: str
    preset: str
    system: str
    control: str
    measure: str | None = None
    seeds: int = LEAST_SEEDS
    results: str | None = None

    @property
    def numbers(self) -> str:
        """Where its numbers are, relative to the repository."""
        name = "RESULTS.json"
        return f"{self.recipe}/{self.results or (name if self.preset == 'default' else f'{self.preset}/{name}')}"

    @property
    def command(self) -> str:
        """What makes the runs."""
        return f"{self.recipe}/run.sh --preset {self.preset}"


@dataclass(frozen=True)
class Verdict:
    """What our tables show of a claim.

    Attributes:
        word: "shown", "not shown" or "contrary".
        ours: the comparison, for a table.
        seeds: how many, likewise.
        because: why nothing could be shown, if that is so.
        gain: the share of the control's errors that the system avoids, and the ends of its 95 % interval; of a score
            that is no share, such as BLEU, the share of the control's score that it adds. None where there is none.
    """

    word: str
    ours: str
    seeds: str
    because: str = ""
    gain: tuple[float, float, float] | None = None


NOT_RUN = Verdict("not shown", "–", "–", "not run")


def read_claims(path: Path) -> list[Claim]:
    """Read a file of claims. Raises ConfigError that names the claim and what is wrong with it."""
    try:
        papers = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(papers, list) or not papers:
        raise ConfigError(f"{path} is not a list of papers; expected entries with paper, source and claims")
    found = []
    for number, paper in enumerate(papers, 1):
        where = f"{path}, paper {number}"
        if not isinstance(paper, dict) or set(paper) != {"paper", "source", "claims"}:
            raise ConfigError(f"{where}: expected the keys paper, source and claims")
        if not isinstance(paper["claims"], list) or not paper["claims"]:
            raise ConfigError(f"{where} ({paper['paper']}): claims is no list; expected at least one claim")
        for place, claim in enumerate(paper["claims"], 1):
            found.append(_claim(paper, claim, f"{where} ({paper['paper']}), claim {place}"))
    return found


def _claim(paper: Mapping[str, Any], claim: Any, where: str) -> Claim:
    if not isinstance(claim, dict):
        raise ConfigError(f"{where} is {claim!r}; expected keys {', '.join(_NEEDED)}")
    if missing := [key for key in _NEEDED if key not in claim]:
        raise ConfigError(f"{where}: there is no {missing[0]}; expected {', '.join(_NEEDED)}")
    for key in claim:
        if key not in (*_NEEDED, *_OPTIONAL):
            raise ConfigError(f"{where}: there is no key {key}{did_you_mean(str(key), [*_NEEDED, *_OPTIONAL])}")
        if not isinstance(claim[key], int if key == "seeds" else str):
            raise ConfigError(f"{where}: {key} is {claim[key]!r}; expected {'a number' if key == 'seeds' else 'text'}")
    return Claim(str(paper["paper"]), str(paper["source"]), **claim)


def verdict(claim: Claim, numbers: Numbers) -> Verdict:
    """Compare the claim's systems by the numbers of a report, which are over seeds and test items.

    It is shown where the system is better and p < .05, contrary where it is worse and p < .05, and not shown otherwise;
    nor where either has fewer than ``claim.seeds`` seeds, since of another training nothing is known then.

    Raises:
        ConfigError: there is no such measure.
        DataError: the report does not compare the two in it.
    """
    if any(name not in numbers.systems for name in (claim.system, claim.control)):
        return NOT_RUN
    measure = one_of(list(numbers.measures), measure=claim.measure) if claim.measure else next(iter(numbers.measures))
    one = numbers.difference(claim.system, claim.control, measure)
    show = one.measure.show
    ours, theirs = (numbers.systems[name][measure]["value"] for name in (claim.system, claim.control))
    low, high = one.ci95 if one.ci95 else (float("nan"), float("nan"))
    shown = f"{one.measure.label} {show(ours)} against {show(theirs)}: {signed(one)} [{show(low)}, {show(high)}]"
    if not one.measure.higher_is_better and theirs > 0:
        shown += f", {100 * one.delta / theirs:+.1f} %".replace("-", "−")
    seeds = [numbers.seeds(name, measure) for name in (claim.system, claim.control)]
    alone = " (items only)" if min(seeds) == 1 else ""
    word, because = "not shown", "too few seeds" if min(seeds) < claim.seeds else ""
    if one.p_value < LEVEL and not because:
        word = "shown" if one.better else "contrary"
    counts = " and ".join(map(str, dict.fromkeys(seeds)))
    return Verdict(word, f"{shown}, {p(one.p_value)}{alone}", counts, because, _gain(one, theirs))


def _gain(one: Difference, theirs: float) -> tuple[float, float, float] | None:
    measure = one.measure
    whole = 1 - theirs if measure.higher_is_better and measure.unit == "%" else theirs
    if one.ci95 is None or not whole > 0:
        return None
    low, high = sorted(measure.gain(end) / whole for end in one.ci95)
    return measure.gain(one.delta) / whole, low, high


def verdicts(claims: Sequence[Claim], read: Callable[[Claim], Numbers | None]) -> list[tuple[Claim, Verdict]]:
    """Return what is shown of each claim; ``read`` gives its numbers, or None where there are none."""
    found = ((claim, read(claim)) for claim in claims)
    return [(claim, verdict(claim, numbers) if numbers else NOT_RUN) for claim, numbers in found]


def ledger(found: Sequence[tuple[Claim, Verdict]], command: str, figure: str = "") -> str:
    """The page, in Markdown.

    Args:
        found: claims in order, those of one paper together, with what is shown of each.
        command: that writes the page.
        figure: its path, relative to the page; none if left out.
    """
    lines = [
        "# Published claims, and what our runs show",
        "",
        f"Generated by `{command}` from the numbers of the recipes' tables ([results](results.md)); none of ours is",
        "typed. *Shown*: the system is better than its control, p < .05 over seeds and test items. *Contrary*: it is",
        "worse, p < .05. *Not shown*: neither, or fewer than two seeds, where interval and p-value are over test items",
        "only, or not run. A difference is the system's value less the control's, with its 95 % interval.",
    ]
    if figure:
        lines += ["", f"![Gain of each system over its control, with its 95 % interval]({figure})"]
    before = None
    for claim, one in found:
        if (claim.paper, claim.source) != before:
            before = (claim.paper, claim.source)
            lines += ["", f"## {_cell(claim.paper)}", "", f"{_cell(claim.source)}", ""]
            lines += ["| Claim | Published | Ours | Seeds | System | Control | Verdict | Command |"]
            lines += ["| --- | --- | --- | ---: | --- | --- | --- | --- |"]
        cells = [claim.claim, claim.published, one.ours, one.seeds, f"`{claim.system}`", f"`{claim.control}`"]
        cells += [f"**{one.word}**{one.because and f', {one.because}'}", f"`{claim.command}`"]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
