"""The report of a translation experiment: its numbers by sacreBLEU and torchmetrics, its files, its faults."""

import datetime
import json
import re
import shutil

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF
from torchmetrics.classification import BinaryCalibrationError

from seqkd.errors import ConfigError, DataError
from seqkd.scoring.formats import read_text
from seqkd.translation.files import read_translations
from seqkd.translation.forced import read_forced
from seqkd.translation.report import write_translation_report
from tests.translation.made_translations import encode, make_references, make_run

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns about figures that it cannot draw well

SETS = ["books", "pages"]
SYSTEMS = {
    "none": {"label": "No smoothing"},
    "uniform": {"label": "Uniform .1", "control": "none", "isolates": "smoothing"},
    "adaptive": {"label": "Adaptive", "control": "uniform", "isolates": "the adaptive amount"},
    "ema": {"label": "EMA prior", "control": "adaptive"},
}
MADE = {  # quality, over-confidence, smoothing
    "none": (1.9, 2.0, None),
    "uniform": (2.2, 0.8, None),
    "adaptive": (2.25, 1.1, 0.4),
}
NOW = datetime.datetime(2024, 5, 6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An experiment of three systems, two seeds each, and one that was not run."""
    root = tmp_path_factory.mktemp("report")
    references = make_references(root / "data", SETS, sentences=90)
    for name, (quality, sharpness, alpha) in MADE.items():
        for seed in range(2):
            make_run(
                root / "exp" / name / f"seed{seed}", references, quality, sharpness=sharpness, alpha=alpha, seed=seed,
                loss={"name": name},
            )  # fmt: skip
    report(root)
    return root


def report(root, systems=SYSTEMS, out="RESULTS.md", test_sets=SETS, **options):
    write_translation_report(
        root / "exp", root / "data", root / out, encode, test_sets=test_sets, systems=systems, title="A title",
        command="/home/somebody/run.sh --preset smoke", **{"now": NOW, "replicates": 1000, **options},
    )  # fmt: skip
    return (root / out).read_text()


def tables(text):
    """Every table of the report, as lists of dictionaries."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found.append([dict(zip(header, cells, strict=True)) for cells in body])
    return found


def decoded(root, name, seed, test_sets=SETS):
    """(references, texts, teacher-forced confidences, correctness, NLL, Brier) of one run, set after set."""
    references, texts, columns = [], [], []
    for test_set in test_sets:
        directory = root / "exp" / name / f"seed{seed}" / f"decode_{test_set}"
        hypotheses = read_translations(directory / "hyp.jsonl")
        for sentence, text in read_text(root / "data" / test_set / "tgt").items():
            references.append(text)
            texts.append(hypotheses[sentence].text)
        forced = read_forced(directory / "forced.npz")
        columns.append([forced.confidence, forced.correct, forced.nll, forced.brier])
    return references, texts, [np.concatenate(parts) for parts in zip(*columns, strict=True)]


def expected(root, name, test_sets=SETS):
    """(seeds, 5) BLEU, chrF, NLL, ECE %, Brier."""
    rows = []
    for seed in range(2):
        references, texts, (confidence, correct, nll, brier) = decoded(root, name, seed, test_sets)
        ece = BinaryCalibrationError(n_bins=15)(torch.tensor(confidence).float(), torch.tensor(correct).long())
        scores = [metric.corpus_score(texts, [references]).score for metric in (BLEU(), CHRF())]
        rows.append([*scores, nll.mean(), 100 * float(ece), brier.mean()])
    return np.array(rows)


def test_numbers_of_the_table(finished):
    results, *_ = tables((finished / "RESULTS.md").read_text())
    by_label = {row["System"]: row for row in results}
    for name in MADE:
        row = by_label[SYSTEMS[name]["label"]]
        values = expected(finished, name)
        columns = ["BLEU", "chrF", "NLL", "ECE %", "Brier"]
        for column, found, digits in zip(columns, values.T, (2, 2, 3, 2, 4), strict=True):
            cell = row[f"{column} [95 %] ± seeds"].replace("*", "")
            value, low, high, spread = map(float, re.fullmatch(r"(.*) \[(.*), (.*)\] ± (.*)", cell).groups())
            half = 0.51 * 10**-digits
            assert value == pytest.approx(found.mean(), abs=half)
            assert spread == pytest.approx(found.std(ddof=1), abs=half)
            assert low < value <= high
        for test_set in SETS:
            assert float(row[f"{test_set}, BLEU"]) == pytest.approx(
                expected(finished, name, [test_set])[:, 0].mean(), abs=0.0051
            )
        assert (row["Parameters"], row["Seeds"], row["Minutes a seed"]) == ("1.25 M", "2", "3.0")
        assert re.match(r"\d", row["Inference ECE % [95 %] ± seeds"])
    assert set(by_label["EMA prior"].values()) == {"EMA prior", "not run", "–"}


def test_differences(finished):
    _, differences, *_ = tables((finished / "RESULTS.md").read_text())
    assert [(row["System"], row["Less"]) for row in differences] == [
        ("Uniform .1", "No smoothing (control)"),
        ("Adaptive", "No smoothing"),
        ("Adaptive", "Uniform .1 (control)"),
    ]
    values = {name: expected(finished, name).mean(axis=0) for name in MADE}
    names = {about["label"]: name for name, about in SYSTEMS.items()}
    for row in differences:
        ours, theirs = values[names[row["System"]]], values[names[row["Less"].removesuffix(" (control)")]]
        for column, delta in zip(("BLEU", "chrF", "NLL", "ECE %", "Brier"), ours - theirs, strict=True):
            said = float(row[column].partition(",")[0].replace("−", "-"))
            assert said == pytest.approx(delta, abs=0.0051)
    assert differences[1]["ECE %"].endswith("†")
    assert "uncorrected for 18 comparisons" in (finished / "RESULTS.md").read_text()


def test_training_settings_and_origin(finished):
    text = (finished / "RESULTS.md").read_text()
    training = {row["System"]: row for row in tables(text)[2]}
    assert training["Adaptive"]["New priors a seed"] == "2.0"  # at steps 500 and 1,200
    assert training["Adaptive"]["Smoothing at the end"].startswith("0.")
    assert training["No smoothing"]["Smoothing at the end"] == training["No smoothing"]["New priors a seed"] == "–"
    for line in (
        "# A title\n",
        "- Command: `run.sh --preset smoke`",
        "- Date: 2024-05-06",
        "- Training time: 18 minutes for 6 runs",
        "data.dir: data",
        "- Adaptive: `loss.name=adaptive`",
        "- Not run: **EMA prior**.",
        "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:",
        "(chosen; the paper aligns by translation edit rate",
        "books (90 sentences), pages (90 sentences), all sentences together",
    ):
        assert line in text
    for revealing in str(finished), "/somewhere", "/home":
        assert revealing not in text


def test_figures(finished):
    from PIL import Image

    text = (finished / "RESULTS.md").read_text()
    for name in "scores", "reliability", "inference_reliability", "alpha", "training":
        assert f"(figures/{name}.png)" in text
        path = finished / "figures" / f"{name}.png"
        assert path.stat().st_size < 100_000
        with Image.open(path) as image:
            assert image.width > 700
            assert len(image.getcolors()) > 50


def test_deterministic(finished):
    text = (finished / "RESULTS.md").read_text()
    assert report(finished, out="again/RESULTS.md") == text
    for drawn in (finished / "figures").iterdir():
        assert (finished / "again" / "figures" / drawn.name).read_bytes() == drawn.read_bytes()


def test_alignment_by_translation_edit_rate(finished):
    text = report(finished, {"none": {}}, out="ter/RESULTS.md", test_sets=["books"], alignment="ter", replicates=5)
    results = tables(text)[0]
    usual = tables(report(finished, {"none": {}}, out="edit/RESULTS.md", test_sets=["books"], replicates=5))[0]
    assert results[0]["System"] == "none"
    assert results[0]["Inference ECE % [95 %] ± seeds"] != usual[0]["Inference ECE % [95 %] ± seeds"]
    assert results[0]["ECE % [95 %] ± seeds"] == usual[0]["ECE % [95 %] ± seeds"]
    assert "as the paper's released code reads it" in text
    assert "## What the tables show" in text
    assert "books, BLEU" not in results[0]
    assert "(figures/alpha.png)" not in text


@pytest.fixture
def small(tmp_path):
    references = make_references(tmp_path / "data", ["test"], sentences=12)
    for name, (quality, sharpness, alpha) in MADE.items():
        steps = 1000 if name == "adaptive" else 2000
        make_run(
            tmp_path / "exp" / name / "seed1",
            references,
            quality,
            sharpness=sharpness,
            alpha=alpha,
            seed=1,
            steps=steps,
        )
    return tmp_path


def test_caveats(small):
    shutil.copytree(small / "exp" / "none" / "seed1", small / "exp" / "none" / "seed2")
    (small / "exp" / "none" / "seed2" / "summary.json").unlink()
    text = report(small, test_sets=["test"])
    assert "**Adaptive** and its control, **Uniform .1**, did not have equal budgets: 1,000 against 2,000" in text
    assert "**No smoothing**: unfinished and left out: seed 2." in text
    assert "From one seed only, so that another seed may change them: **No smoothing**, **Uniform .1**" in text
    assert "±" not in tables(text)[0][0]["BLEU [95 %] ± seeds"]


def test_without_baseline_and_subject(small):
    text = report(small, {"uniform": SYSTEMS["uniform"], "ema": SYSTEMS["ema"]}, test_sets=["test"])
    assert "**Uniform .1** has neither" not in text
    assert "The aim" not in text
    assert len(tables(text)) == 2  # results and training: nothing is compared


def test_history_without_anything(small):
    (small / "exp" / "none" / "seed1" / "history.json").write_text('{"rows": []}')
    text = report(small, {"none": {}}, test_sets=["test"])
    assert "(figures/training.png)" not in text


def lines_of(path, keep):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:keep]))


FAULTS = {
    "nothing run": (lambda root: shutil.rmtree(root / "exp"), "{exp} holds no finished run of none, uniform*report."),
    "no references": (lambda root: (root / "data/test/tgt").unlink(), "{tgt}: no such file."),
    "fewer sentences": (
        lambda root: lines_of(root / "exp/none/seed1/decode_test/hyp.jsonl", 5),
        "{run}/decode_test/hyp.jsonl against {tgt}: 7 sentences are without a translation, such as test-0005; "
        "decode again.",
    ),
    "fewer references": (
        lambda root: lines_of(root / "data/test/tgt", 11),
        "{run}/decode_test/hyp.jsonl against {tgt}: 1 sentence is without a reference, such as test-0011; "
        "decode again.",
    ),
    "no history": (
        lambda root: (root / "exp/none/seed1/history.json").unlink(),
        "{run}/history.json: no such file, although the run has a summary.",
    ),
    "summary that lacks a number": (
        lambda root: (root / "exp/none/seed1/summary.json").write_text(json.dumps({"steps": 1})),
        "{run}/summary.json lacks parameters, passes, train_seconds, device, best_dev_nll.",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_sentence(name, small):
    breaks, says = FAULTS[name]
    breaks(small)
    with pytest.raises(DataError) as caught:
        report(small, test_sets=["test"])
    says = says.format(exp=small / "exp", run=small / "exp" / "none" / "seed1", tgt=small / "data" / "test" / "tgt")
    start, _, end = says.partition("*")
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    assert not (small / "RESULTS.md").exists()


def test_arguments(small):
    with pytest.raises(ConfigError, match="at least 1 replicate"):
        report(small, test_sets=["test"], replicates=0)
    with pytest.raises(DataError, match="There are no test sets"):
        report(small, test_sets=[])
