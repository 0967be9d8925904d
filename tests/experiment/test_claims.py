"""A published claim is shown, contrary or not shown by the counts of its two systems alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from seqkd.cli.claims import experiment_of
from seqkd.cli.main import main
from seqkd.errors import ConfigError, DataError
from seqkd.experiment.claims import Claim, ledger, read_claims, verdict
from seqkd.experiment.read import Experiment, NotRun, Run, System
from seqkd.experiment.scores import Scores
from seqkd.statistics.table import Table
from tests.experiment.test_findings import BLEU, WER, Made

ROOT = Path(__file__).parents[2]
CLAIM = Claim("Paper", "a journal", "fewer errors", "5 → 4", "asr", "egs/a/b", "study", "new", "old")


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
        runs = [Run(seed, Path(), {}, [], {}, one) for seed, one in enumerate(tables)]
        systems[name] = System(name, name.title(), None, None, runs, [])
    return Experiment(task, systems, ["test"], replicates=400)


@pytest.mark.parametrize(
    ("new", "old", "word"), [(0.1, 0.2, "shown"), (0.2, 0.1, "contrary"), (0.15, 0.15, "not shown")]
)
def test_the_counts_decide(new: float, old: float, word: str) -> None:
    made = experiment({"new": new, "old": old})
    found = verdict(CLAIM, made)
    assert (found.word, found.seeds) == (word, "4")
    ours, theirs = (sum(table.total()["errors"] for table in made.systems[n].tables().values()) for n in ("new", "old"))
    shown = re.match(r"WER % ([\d.]+) against ([\d.]+): ", found.ours).groups()
    assert list(map(float, shown)) == pytest.approx([ours / 120, theirs / 120], abs=0.0051)
    assert re.search(r"\[−?[\d.]+, −?[\d.]+\], [+−][\d.]+ %, p [<=] ", found.ours)


def test_more_is_better_where_the_measure_says_so() -> None:
    more = Made(WER.__class__("acc", "accuracy", ("errors", "words"), WER.of, higher_is_better=True))
    assert BLEU.higher_is_better
    assert verdict(CLAIM, experiment({"new": 0.2, "old": 0.1}, task=more)).word == "shown"


def test_one_training_shows_nothing() -> None:
    found = verdict(CLAIM, experiment({"new": 0.1, "old": 0.2}, seeds=1))
    assert (found.word, found.because, found.seeds) == ("not shown", "too few seeds", "1")
    assert "WER" in found.ours and found.ours.endswith(" (items only)")


def test_what_was_not_run_is_said() -> None:
    made = experiment({"new": 0.1})
    found = verdict(CLAIM, made)
    assert (found.word, found.ours, found.because) == ("not shown", "–", "not run")

    def nothing(claim: Claim) -> Experiment:
        raise NotRun("there is no egs/a/b/exp/study")

    page = ledger([CLAIM], nothing, "seqkd claims x")
    assert "| – | – | `new` | `old` | **not shown**, not run | `egs/a/b/run.sh --preset study` |" in page


def test_damaged_runs_stop_the_page() -> None:
    def damaged(claim: Claim) -> Experiment:
        raise DataError("exp/new/seed0/summary.json, line 1: not JSON")

    with pytest.raises(DataError, match="not JSON"):
        ledger([CLAIM], damaged, "seqkd claims x")


def test_claims_of_a_paper_stand_together_in_tables() -> None:
    made = experiment({"new": 0.1, "old": 0.2})
    claims = [CLAIM, Claim(**{**vars(CLAIM), "claim": "a | b"}), Claim(**{**vars(CLAIM), "paper": "Other"})]
    page = ledger(claims, lambda _: made, "seqkd claims x")
    assert page.count("## ") == 2 and page.count("| Claim |") == 2 and "a \\| b" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}


@pytest.mark.parametrize("claim", read_claims(ROOT / "local" / "claims.yaml"), ids=lambda claim: claim.claim)
def test_every_claim_of_ours_names_systems_that_there_are(claim: Claim, tmp_path: Path) -> None:
    assert (ROOT / claim.recipe / "run.sh").is_file()
    (tmp_path / claim.recipe).mkdir(parents=True)
    (tmp_path / claim.recipe / "conf").symlink_to(ROOT / claim.recipe / "conf")
    with pytest.raises(DataError, match=f"there is no {claim.recipe}/exp/{claim.preset}"):  # after the settings
        experiment_of(tmp_path, claim)


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
    keys = ("claim", "published", "task", "recipe", "preset", "system", "control")
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
