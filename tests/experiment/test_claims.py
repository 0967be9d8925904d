"""A published claim is shown, contrary or not shown by the numbers beside a report alone."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from seqkd.cli.claims import numbers_of
from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides
from seqkd.errors import ConfigError, DataError
from seqkd.experiment.claims import NOT_RUN, Claim, Verdict, ledger, read_claims, verdict, verdicts
from seqkd.experiment.claims_figure import draw_claims
from seqkd.experiment.findings import compare
from seqkd.experiment.numbers import Numbers, read_numbers, write_numbers
from seqkd.experiment.read import Experiment, Run, System
from seqkd.experiment.scores import Scores
from seqkd.statistics.bootstrap import Difference
from seqkd.statistics.table import Table
from seqkd.tasks import task_of
from tests.experiment.test_findings import BLEU, WER, Made

ROOT = Path(__file__).parents[2]
CLAIM = Claim("Paper", "a journal", "fewer errors", "5 → 4", "egs/a/b", "study", "new", "old")


def table(rate: float, seed: int, column: str = "errors") -> Table:
    """Of 300 utterances of 10 words each, those of one seed a little worse than those of another."""
    generator = np.random.default_rng([seed, round(1000 * rate)])
    errors = generator.binomial(10, rate + 0.005 * (seed % 2), 300).astype(float)
    return Table(tuple(map(str, range(300))), {column: errors, "words": np.full(300, 10.0)})


def experiment(rates: dict[str, float], seeds: int = 4, task: Scores | None = None) -> Experiment:
    task = task or Made(WER)
    systems = {}
    for name, rate in rates.items():
        tables = [{"test": table(rate, seed, task.measures[0].columns[0])} for seed in range(seeds)]
        summary = {"parameters": 1000, "train_seconds": 90.0}
        runs = [Run(seed, Path(), {}, [], summary, one) for seed, one in enumerate(tables)]
        systems[name] = System(name, name.title(), None, None, runs, [])
    return Experiment(task, systems, ["test"], replicates=400)


def numbers(made: Experiment, path: Path, pair: tuple[str, str] = ("new", "old")) -> Numbers:
    """Those of its report, from a file."""
    compared = compare(made, [pair] if set(pair) <= made.finished.keys() else [])
    write_numbers(path, made, compared, title="A title", command="run.sh", commit="abc")
    return read_numbers(path)


@pytest.mark.parametrize(
    ("new", "old", "word"), [(0.1, 0.2, "shown"), (0.2, 0.1, "contrary"), (0.15, 0.15, "not shown")]
)
@pytest.mark.parametrize("pair", [("new", "old"), ("old", "new")])
def test_the_counts_decide(new: float, old: float, word: str, pair: tuple[str, str], tmp_path: Path) -> None:
    made = experiment({"new": new, "old": old})
    found = verdict(CLAIM, numbers(made, tmp_path / "RESULTS.json", pair))
    assert (found.word, found.seeds) == (word, "4")
    ours, theirs = (sum(table.total()["errors"] for table in made.systems[n].tables().values()) for n in ("new", "old"))
    shown = re.match(r"WER % ([\d.]+) against ([\d.]+): ", found.ours).groups()
    assert list(map(float, shown)) == pytest.approx([ours / 120, theirs / 120], abs=0.0051)
    ends = re.search(r": ([+−][\d.]+) \[(−?[\d.]+), (−?[\d.]+)\], [+−][\d.]+ %, p [<=] ", found.ours).groups()
    delta, low, high = (float(end.replace("−", "-").replace("+", "")) for end in ends)
    assert delta == pytest.approx((ours - theirs) / 120, abs=0.0051) and (low < delta < high or new == old)


def test_numbers_are_those_of_the_report(tmp_path: Path) -> None:
    made = experiment({"new": 0.1, "old": 0.2})
    found = numbers(made, tmp_path / "RESULTS.json")
    for name in ("new", "old"):
        one, kept = made.estimates[name]["wer"], found.systems[name]["wer"]
        assert kept["value"] == pytest.approx(one.value, rel=1e-5)
        assert kept["ci95"] == pytest.approx(list(one.ci95), rel=1e-5)
        assert kept["by_seed"] == {str(seed): pytest.approx(value, rel=1e-5) for seed, value in one.seeds.items()}
    difference = compare(made, [("new", "old")])["new", "old"]["wer"].difference
    assert found.difference("new", "old", "wer").p_value == pytest.approx(difference.p_value, rel=1e-5)
    reverse = found.difference("old", "new", "wer").ci95
    assert reverse == pytest.approx([-end for end in difference.ci95[::-1]], rel=1e-5)
    assert len((tmp_path / "RESULTS.json").read_text().splitlines()) < 20  # a system, and a comparison, a line


def test_numbers_that_are_there_already_are_left(tmp_path: Path) -> None:
    """Else a second run of a recipe that is done would change a file."""
    file = tmp_path / "RESULTS.json"
    times = []
    for rate in (0.1, 0.1, 0.3):
        numbers(experiment({"new": rate, "old": 0.2}), file)
        times.append(file.stat().st_mtime_ns)
    assert times[0] == times[1] != times[2]


def test_more_is_better_where_the_measure_says_so(tmp_path: Path) -> None:
    more = Made(WER.__class__("acc", "accuracy", ("errors", "words"), WER.of, higher_is_better=True))
    assert BLEU.higher_is_better
    made = experiment({"new": 0.2, "old": 0.1}, task=more)
    assert verdict(CLAIM, numbers(made, tmp_path / "RESULTS.json")).word == "shown"


def test_one_training_shows_nothing(tmp_path: Path) -> None:
    found = verdict(CLAIM, numbers(experiment({"new": 0.1, "old": 0.2}, seeds=1), tmp_path / "RESULTS.json"))
    assert (found.word, found.because, found.seeds) == ("not shown", "too few seeds", "1")
    assert "WER" in found.ours and found.ours.endswith(" (items only)")


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    found = verdict(CLAIM, numbers(experiment({"new": 0.1}), tmp_path / "RESULTS.json"))
    assert (found.word, found.ours, found.because) == ("not shown", "–", "not run")
    page = ledger(verdicts([CLAIM], lambda _: None), "seqkd claims x")
    assert "| – | – | `new` | `old` | **not shown**, not run | `egs/a/b/run.sh --preset study` |" in page
    assert numbers_of(tmp_path, CLAIM) is None


def test_what_is_not_compared_says_what_to_do(tmp_path: Path) -> None:
    made = experiment({"new": 0.1, "old": 0.2, "third": 0.2})
    with pytest.raises(DataError, match=r"does not compare new with old in wer; add \[new, old\] to report.compare"):
        verdict(CLAIM, numbers(made, tmp_path / "RESULTS.json", ("new", "third")))
    with pytest.raises(ConfigError, match="measure is 'bleu'; expected one of wer"):
        verdict(Claim(**{**vars(CLAIM), "measure": "bleu"}), numbers(made, tmp_path / "RESULTS.json"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:40], "not JSON"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "has schema 2; expected 1: write the report anew"),
        (lambda text: text.replace('"comparisons"', '"comparison"'), "lacks comparisons"),
        (lambda text: text.replace('"p_value"', '"p"'), "is damaged"),
        (lambda text: text.replace('"unit"', '"units"'), "is damaged"),
    ],
)
def test_damaged_numbers_stop_the_page(damage: Callable[[str], str], said: str, tmp_path: Path) -> None:
    path = tmp_path / CLAIM.numbers
    path.parent.mkdir(parents=True)
    numbers(experiment({"new": 0.1, "old": 0.2}), path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=said) as error:
        verdicts([CLAIM], lambda claim: numbers_of(tmp_path, claim))
    assert str(path) in str(error.value)


def test_claims_of_a_paper_stand_together_in_tables(tmp_path: Path) -> None:
    made = numbers(experiment({"new": 0.1, "old": 0.2}), tmp_path / "RESULTS.json")
    claims = [CLAIM, Claim(**{**vars(CLAIM), "claim": "a | b"}), Claim(**{**vars(CLAIM), "paper": "Other"})]
    page = ledger(verdicts(claims, lambda _: made), "seqkd claims x")
    assert page.count("## ") == 2 and page.count("| Claim |") == 2 and "a \\| b" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}


OURS = read_claims(ROOT / "local" / "claims.yaml")
REGIMES = runpy.run_path(str(ROOT / "local" / "consistency_page.py"))["REGIMES"]


@pytest.mark.parametrize(("recipe", "preset"), sorted({(claim.recipe, claim.preset) for claim in OURS}))
def test_reports_compare_the_systems_that_our_pages_are_about(recipe: str, preset: str) -> None:
    task = re.search(r"--task (\w+)", (ROOT / recipe / "run.sh").read_text())[1]
    options = ["--task", task, "--conf", ROOT / recipe / "conf", "--preset", preset, "--exp", "exp", "--data", "data"]
    args = parse(parser("report", ""), list(map(str, options)))
    cfg = compose(args)
    controls = {name: compose(args, *system_overrides(cfg, name, 0)).system.control for name in cfg.systems}
    compared = {frozenset(pair) for pair in controls.items()} | {frozenset(pair) for pair in cfg.report.compare}
    compared |= {frozenset((name, cfg.report.get("baseline") or task_of(cfg).baseline)) for name in cfg.systems}
    claims = [claim for claim in OURS if (claim.recipe, claim.preset) == (recipe, preset)]
    needed = [(claim.system, claim.control) for claim in claims]
    numbers = {claim.numbers for claim in claims}
    needed += [
        (one.system, control) for one in REGIMES if one.results in numbers for control in one.controls if control
    ]
    assert [pair for pair in needed if frozenset(pair) not in compared] == []


@pytest.mark.parametrize(
    ("higher", "unit", "ours", "theirs", "gain"),
    [
        (False, "%", 0.1, 0.2, 0.5),  # a WER
        (True, "%", 0.9, 0.8, 0.5),  # an accuracy: half of its errors
        (True, "", 30.0, 20.0, 0.5),  # BLEU
        (False, "%", 0.2, 0.1, -1.0),
    ],
)
def test_gains_are_shares_of_the_controls_errors(
    higher: bool, unit: str, ours: float, theirs: float, gain: float, tmp_path: Path
) -> None:
    measure = replace(WER, key="m", unit=unit, higher_is_better=higher)
    one = Difference(measure, ours - theirs, (ours - theirs - 0.01, ours - theirs + 0.01), 0.001)
    systems = {name: {"m": {"value": v, "by_seed": {"0": v, "1": v}}} for name, v in (("new", ours), ("old", theirs))}
    found = verdict(CLAIM, Numbers(tmp_path, {"m": measure}, systems, {("new", "old", "m"): one}))
    value, low, high = found.gain
    assert value == pytest.approx(gain) and low < value < high
    assert found.word == ("shown" if gain > 0 else "contrary")


def test_the_figure_has_a_row_a_claim_that_was_run() -> None:
    one = Verdict("shown", "", "1", gain=(0.1, 0.05, 0.2))
    figure = draw_claims([(CLAIM, one), (CLAIM, NOT_RUN), (CLAIM, Verdict("contrary", "", "5", gain=(-0.1, -0.2, 0)))])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["fewer errors  (Paper)"] * 2
    assert draw_claims([(CLAIM, NOT_RUN)]) is None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (entry,) = (one for one in yaml.safe_load((ROOT / "local/claims.yaml").read_text()) if one["paper"] == "BookKD")
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([entry]))
    out = tmp_path / "page.md"
    assert main(["claims", str(tmp_path / "claims.yaml"), "--out", str(out), "--root", str(ROOT)]) == 0
    assert "## BookKD" in out.read_text() and str(out) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"control": None}, "claim 1: there is no control"),
        ({"sistem": "kd"}, "there is no key sistem; did you mean system"),
        ({"seeds": "two"}, "seeds is 'two'; expected a number"),
        ({"preset": 3}, "preset is 3; expected text"),
    ],
)
def test_a_claim_that_is_wrong_is_named(tmp_path: Path, change: dict, said: str) -> None:
    keys = ("claim", "published", "recipe", "preset", "system", "control")
    claim = {key: getattr(CLAIM, key) for key in keys} | change
    claim = {key: value for key, value in claim.items() if value is not None}
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump([{"paper": "Paper", "source": "here", "claims": [claim]}]))
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_claims(file)


@pytest.mark.parametrize("text", ["", "a: 1", "[", "- {paper: a}", "- {paper: a, source: b, claims: []}"])
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        read_claims(file)
