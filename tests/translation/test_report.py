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

from seqkd.errors import SeqkdError
from seqkd.experiment.report import write_report
from seqkd.scoring.formats import read_text
from seqkd.tasks.translation.sections import reached
from seqkd.translation.files import read_translations
from seqkd.translation.forced import read_forced
from seqkd.translation.measures import BLEU as BLEU_MEASURE
from seqkd.translation.measures import ECE, INFERENCE_ECE
from tests.experiment.report_experiment import settings
from tests.experiment.test_findings import experiment
from tests.translation.made_translations import Scores, make_references, make_run

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
TASK = Scores()


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


def report(root, systems=SYSTEMS, out="RESULTS.md", test_sets=SETS, task=TASK, **about):
    cfg = settings(root, test_sets, **{"out": str(root / out), "replicates": 1000, **about})
    write_report(task, cfg, systems, "/home/somebody/run.sh --preset smoke", now=NOW)
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
            shown = float(row[column].partition(",")[0].replace("−", "-"))
            assert shown == pytest.approx(delta, abs=0.0051)
    assert differences[1]["ECE %"].endswith("†")
    assert "uncorrected for 18 comparisons" in (finished / "RESULTS.md").read_text()


def test_training_settings_and_origin(finished):
    text = (finished / "RESULTS.md").read_text()
    (smoothing,) = next(table for table in tables(text) if "New priors a seed" in table[0])
    assert (smoothing["System"], smoothing["New priors a seed"]) == ("Adaptive", "2.0")  # at steps 500 and 1,200
    assert smoothing["Smoothing at the end"].startswith("0.")
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
        "all sentences together. A system's number is the mean over its seeds",
        "Higher is better in BLEU, chrF; lower is better in NLL, ECE, Inference ECE, Brier.",
        "- **Adaptive** has ",
    ):
        assert line in text
    for revealing in str(finished), "/somewhere", "/home":
        assert revealing not in text


def test_figures(finished):
    from PIL import Image

    text = (finished / "RESULTS.md").read_text()
    for name in "scores", "calibration", "reliability", "inference_reliability", "alpha", "training", "losses":
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


class ByEditRate(Scores):
    alignment = "ter"


def test_alignment_by_translation_edit_rate(finished, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    text = report(root, {"none": {}}, out="ter/RESULTS.md", test_sets=["books"], task=ByEditRate(), replicates=5)
    results = tables(text)[0]
    # Another setting is other evidence: counts are made anew, and back again.
    usual = tables(report(root, {"none": {}}, out="edit/RESULTS.md", test_sets=["books"], replicates=5))[0]
    assert results[0]["System"] == "none"
    assert results[0]["Inference ECE % [95 %] ± seeds"] != usual[0]["Inference ECE % [95 %] ± seeds"]
    assert results[0]["ECE % [95 %] ± seeds"] == usual[0]["ECE % [95 %] ± seeds"]
    assert "as the paper's released code reads it" in text
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


def test_without_baseline_and_subject(small):
    text = report(small, {"uniform": SYSTEMS["uniform"], "ema": SYSTEMS["ema"]}, test_sets=["test"])
    assert "The aim" not in text and "p-values" not in text
    assert "Less" not in tables(text)[1][0]  # nothing is compared


def test_another_baseline(small):
    text = report(small, test_sets=["test"], baseline="uniform")
    pairs = {(row["System"], row["Less"]) for row in tables(text)[1]}
    assert pairs == {
        ("No smoothing", "Uniform .1"),
        ("Uniform .1", "No smoothing (control)"),
        ("Adaptive", "Uniform .1 (control)"),
    }


def test_history_without_anything(small):
    (small / "exp" / "none" / "seed1" / "history.json").write_text('{"rows": []}')
    text = report(small, {"none": {}}, test_sets=["test"])
    assert "(figures/training.png)" not in text


# ---- the aim


def aim(clear=True, **values):
    """What is said of systems of given (BLEU, ECE %, inference ECE %); differences are clear or drown in noise."""
    values = {name: (bleu, ece / 100, inference / 100) for name, (bleu, ece, inference) in values.items()}
    measures = (BLEU_MEASURE, ECE, INFERENCE_ECE)
    return " ".join(reached(experiment(measures, values, clear=clear, baseline="none"), "adaptive"))


@pytest.mark.parametrize(
    ("clear", "values", "says"),
    [
        (True, {"none": (20, 8, 9), "uniform": (21, 4, 5), "adaptive": (22, 3, 4)}, "p = .005: best. "),
        (
            False,
            {"none": (20, 8, 9), "uniform": (21, 4, 5), "adaptive": (22, 3, 4)},
            ": best, though not shown to be better than **Uniform**. ",
        ),
        (
            False,
            {"none": (20, 8, 9), "uniform": (22, 4, 5), "adaptive": (21.9, 3, 4)},
            "**Uniform** has the highest BLEU, 22.00; **Adaptive** has 21.90, a difference of −0.10",
        ),
        (
            False,
            {"none": (20, 8, 9), "uniform": (22, 4, 5), "adaptive": (21.9, 3, 4)},
            "not decided, for neither a difference nor a tie within 0.5 BLEU is shown. ",
        ),
        (
            True,
            {"none": (20, 8, 9), "uniform": (22, 4, 5), "adaptive": (21.998, 3, 4)},
            ": tied, a loss of more than 0.5 BLEU is excluded. ",
        ),
        (True, {"none": (20, 8, 9), "uniform": (22, 4, 5), "adaptive": (21, 3, 4)}, "p = .005: worse. "),
        (
            True,
            {"none": (20, 8, 9), "adaptive": (22, 3, 4)},
            "Teacher-forced ECE of **Adaptive**: 3.00 %, of **None**: 8.00 %; that is 38 % of it, halved. ",
        ),
        (
            True,
            {"none": (20, 8, 9), "adaptive": (22, 3, 6)},
            "Inference ECE of **Adaptive**: 6.00 %, of **None**: 9.00 %; that is 67 % of it, lower but not halved. ",
        ),
        (
            False,
            {"none": (20, 8, 9), "adaptive": (22, 3.9, 6)},
            " 49 % of it, halved, though not clearly below one half. ",
        ),
        (True, {"none": (20, 8, 9), "adaptive": (22, 8.5, 6)}, " 106 % of it, not lower. "),
        (True, {"none": (20, 8, 9), "adaptive": (22, 2, 6)}, "ECE of **None**, is met in both. "),
        (True, {"none": (23, 8, 9), "adaptive": (22, 2, 6)}, "ECE of **None**, is met in ECE only. "),
        (True, {"none": (20, 8, 9), "adaptive": (22, 6, 6)}, "ECE of **None**, is met in BLEU only. "),
        (True, {"none": (23, 8, 9), "adaptive": (22, 6, 6)}, "ECE of **None**, is not met. "),
        (True, {"none": (23, 0, 9), "adaptive": (22, 6, 6)}, "**Adaptive** or **None** has no teacher-forced ECE"),
    ],
)
def test_the_aim(clear, values, says):
    assert says in aim(clear, **values) + " "


def test_no_aim_without_a_subject_or_rival():
    assert aim(none=(20, 8, 9), uniform=(22, 4, 5)) == aim(adaptive=(20, 8, 9)) == ""


# ---- faults


def lines_of(path, keep):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:keep]))


FAULTS = {
    "nothing run": (lambda root: shutil.rmtree(root / "exp"), "{exp} holds no finished run of none, uniform*report."),
    "no references": (
        lambda root: (root / "data/test/tgt").unlink(),
        "{tgt} is missing: a test set needs references; name another set in sets.test",
    ),
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
        "{run}/summary.json lacks parameters, passes, train_seconds, device.",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_sentence(name, small):
    breaks, says = FAULTS[name]
    breaks(small)
    with pytest.raises(SeqkdError) as caught:
        report(small, test_sets=["test"])
    says = says.format(exp=small / "exp", run=small / "exp" / "none" / "seed1", tgt=small / "data" / "test" / "tgt")
    start, _, end = says.partition("*")
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    assert not (small / "RESULTS.md").exists()
