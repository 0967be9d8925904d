"""The ledger: each published claim beside what our own runs show of it, as one generated page.

A file of claims (``local/claims.yaml``) says, for each, the paper, its number, and which two systems of which recipe it
is about; every number of ours comes from the counts in the recipe's experiment directory.

    - paper: Cons-KD
      source: IEEE Access 2024, 10.1109/access.2024.3457859
      claims:
        - claim: fewer errors than distillation with one pass, at equal updates
          published: WER 5.10 → 4.13
          task: asr
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
from seqkd.experiment.read import Experiment, NotRun
from seqkd.settings import did_you_mean
from seqkd.statistics.bootstrap import LEVEL, Estimate, difference
from seqkd.statistics.measures import measure_of

LEAST_SEEDS = 2  # of a single training, nothing is known of another
_NEEDED = ("claim", "published", "task", "recipe", "preset", "system", "control")
_OPTIONAL = ("measure", "seeds")


@dataclass(frozen=True)
class Claim:
    """One claim, and the comparison that is to show it: that ``system`` does better than ``control``.

    Attributes:
        paper, source: where it was published.
        claim: in words.
        published: the paper's number, in words.
        task, recipe, preset: whose runs are looked at; a recipe is a directory, relative to the repository.
        system, control: names of systems of that preset.
        measure: key of one of the task's measures; None for its first.
        seeds: of either system at least, before anything counts as shown.
    """

    paper: str
    source: str
    claim: str
    published: str
    task: str
    recipe: str
    preset: str
    system: str
    control: str
    measure: str | None = None
    seeds: int = LEAST_SEEDS

    @property
    def command(self) -> str:
        """What makes the runs."""
        return f"{self.recipe}/run.sh --preset {self.preset}"


@dataclass(frozen=True)
class Verdict:
    """What our runs show of a claim: ``word`` is "shown", "not shown" or "contrary"; the others are for a table.

    ``because`` says why nothing could be shown, if that is so.
    """

    word: str
    ours: str
    seeds: str
    because: str = ""


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


def verdict(claim: Claim, experiment: Experiment) -> Verdict:
    """Compare the claim's systems in an experiment, over seeds and test items.

    It is shown where the system is better and p < .05, contrary where it is worse and p < .05, and not shown otherwise;
    nor where either has fewer than ``claim.seeds`` seeds, since of another training nothing is known then.
    """
    missing = [name for name in (claim.system, claim.control) if name not in experiment.finished]
    if missing:
        return Verdict("not shown", "–", "–", "not run")
    measures = (*experiment.task.measures, *experiment.task.further)
    measure = measure_of(measures, claim.measure, "measure") if claim.measure else measures[0]
    estimates = experiment.measured([measure], replicates=experiment.replicates)
    ours, theirs = (estimates[name][measure.key] for name in (claim.system, claim.control))
    one = difference(ours, theirs)
    low, high = one.ci95 if one.ci95 else (float("nan"), float("nan"))
    interval = f"[{measure.show(low)}, {measure.show(high)}]"
    shown = f"{measure.label} {measure.show(ours.value)} against {measure.show(theirs.value)}: {signed(one)} {interval}"
    if not measure.higher_is_better and theirs.value > 0:
        shown += f", {100 * one.delta / theirs.value:+.1f} %".replace("-", "−")
    least = min(len(ours.seeds), len(theirs.seeds))
    alone = " (items only)" if least == 1 else ""
    word, because = "not shown", "too few seeds" if least < claim.seeds else ""
    if one.p_value < LEVEL and not because:
        word = "shown" if one.better else "contrary"
    return Verdict(word, f"{shown}, {p(one.p_value)}{alone}", _seeds(ours, theirs), because)


def _seeds(ours: Estimate, theirs: Estimate) -> str:
    counts = [len(one.seeds) for one in (ours, theirs)]
    return str(counts[0]) if counts[0] == counts[1] else f"{counts[0]} and {counts[1]}"


def ledger(claims: Sequence[Claim], read: Callable[[Claim], Experiment], command: str) -> str:
    """The page, in Markdown.

    Args:
        claims: in order; those of one paper stand together.
        read: gives the experiment of a claim; its NotRun, of runs that are not there, is a "not shown".
        command: that writes the page.
    """
    lines = [
        "# Published claims, and what our runs show",
        "",
        f"Generated by `{command}` from the runs; no number of ours is typed. *Shown*: the system is better than its",
        "control, p < .05 over seeds and test items. *Contrary*: it is worse, p < .05. *Not shown*: neither, or fewer",
        "than two seeds, where interval and p-value are over test items only, or not run with the present settings",
        "(results.md has tables of earlier ones). A difference is the system's value less the control's, with its 95 %",
        "interval; p-values are of draws of their own, and can differ from those in RESULTS.md in their last digits.",
    ]
    before = None
    for claim in claims:
        if (claim.paper, claim.source) != before:
            before = (claim.paper, claim.source)
            lines += ["", f"## {_cell(claim.paper)}", "", f"{_cell(claim.source)}", ""]
            lines += ["| Claim | Published | Ours | Seeds | System | Control | Verdict | Command |"]
            lines += ["| --- | --- | --- | ---: | --- | --- | --- | --- |"]
        try:
            found = verdict(claim, read(claim))
        except NotRun:
            found = Verdict("not shown", "–", "–", "not run")
        cells = [claim.claim, claim.published, found.ours, found.seeds, f"`{claim.system}`", f"`{claim.control}`"]
        cells += [f"**{found.word}**{found.because and f', {found.because}'}", f"`{claim.command}`"]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
