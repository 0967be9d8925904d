import datetime
import json
import os
import re
import shutil
import subprocess

import jiwer
import numpy as np
import pytest

from seqkd.errors import ConfigError, DataError
from seqkd.experiment.figures import _spread
from seqkd.experiment.provenance import describe_commit, describe_environment, without_paths
from seqkd.experiment.report import write_report
from seqkd.scoring import count, paired_bootstrap, read_text, write_text
from seqkd.statistics.calibration import Calibration
from seqkd.statistics.mapsswe import Errors, matched_pairs
from seqkd.tasks.asr.scores import AsrScores
from tests.experiment.report_experiment import make_references, make_run, settings

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns about figures that it cannot draw well

SETS = ["clean", "noisy"]
SYSTEMS = {
    "teacher": {"label": "Teacher"},
    "student": {"label": "Student"},
    "kd": {"label": "KD", "control": "student"},
    "kd_2": {"label": "KD twice"},
    "cons_kd": {"label": "Cons-KD", "control": "kd_2", "isolates": "the consistency term"},
    "cr_ctc": {"label": "CR-CTC", "control": "student"},
}
RATES = {"teacher": 0.03, "student": 0.16, "kd": 0.10, "kd_2": 0.098, "cons_kd": 0.097}
NOW = datetime.datetime(2024, 5, 6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An experiment of five systems, up to three seeds each."""
    root = tmp_path_factory.mktemp("report")
    references = make_references(root / "data", SETS, utterances=150)
    for name, rate in RATES.items():
        for seed in range(1 if name == "teacher" else 3):
            terms = ["ctc"] + ["kd"] * ("kd" in name) + ["consistency"] * ("cons" in name)
            passes = 2 if name in ("kd_2", "cons_kd") else 1
            make_run(
                root / "exp" / name / f"seed{seed}", references, rate, seed=seed, passes=passes, terms=terms,
                loss={"kd_weight": float("kd" in name), "passes": passes},
            )  # fmt: skip
    report(root)
    return root


def report(root, systems=SYSTEMS, out="RESULTS.md", test_sets=SETS, environment=None, **about):
    cfg = settings(root, test_sets, **{"out": str(root / out), "replicates": 2000, **about})
    write_report(AsrScores(), cfg, systems, "/home/somebody/run.sh --preset smoke", now=NOW, environment=environment)
    return (root / out).read_text()


def tables(text):
    """Every table of the report, as lists of dictionaries."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found.append([dict(zip(header, cells, strict=True)) for cells in body])
    return found


def table_with(text, column):
    """The first table that has a column, by system."""
    found = next(table for table in tables(text) if column in table[0])
    return {row["System"]: row for row in found}


def errors(root, name, test_sets=SETS):
    """(S, N) word errors and (N,) words, by jiwer."""
    table, words = [], []
    for directory in sorted((root / "exp" / name).glob("seed*")):
        seed, words = [], []
        for test_set in test_sets:
            hypotheses = read_text(directory / f"decode_{test_set}" / "text")
            for utterance, reference in read_text(root / "data" / test_set / "text").items():
                done = jiwer.process_words(reference, hypotheses[utterance])
                seed.append(done.substitutions + done.deletions + done.insertions)
                words.append(len(reference.split()))
        table.append(seed)
    return np.array(table), np.array(words)


def test_rates_of_the_table(finished):
    text = (finished / "RESULTS.md").read_text()
    table, kinds = table_with(text, "Parameters"), table_with(text, "S % [95 %] ± seeds")
    pooled = {}
    for name in RATES:
        row = table[SYSTEMS[name]["label"]]
        for test_set in SETS:
            wrong, words = errors(finished, name, [test_set])
            assert row[f"{test_set}, WER %"] == f"{100 * wrong.sum() / words.sum() / len(wrong):.2f}"
        wrong, words = errors(finished, name)
        pooled[name] = wrong.sum() / words.sum() / len(wrong)
        cell = re.fullmatch(r"\*\*(.*)\*\* \[(.*), (.*)\](?: ± (.*))?", row["WER % [95 %] ± seeds"])
        rate, low, high = map(float, cell.groups()[:3])
        assert rate == pytest.approx(100 * pooled[name], abs=0.005)
        assert low < rate < high
        single = name == "teacher"
        assert cell[4] == (None if single else f"{100 * (wrong.sum(1) / words.sum()).std(ddof=1):.2f}")
        assert sum(
            float(kinds[row["System"]][f"{kind} % [95 %] ± seeds"].split()[0]) for kind in "SDI"
        ) == pytest.approx(rate, abs=0.02)
        assert row["Seeds"] == ("1 (items only)" if single else str(len(wrong)))
        assert (row["Parameters"], row["Minutes a seed"]) == ("78 k", "2.0")
    for name in RATES:
        kept = (pooled["student"] - pooled[name]) / (pooled["student"] - pooled["teacher"])
        assert table[SYSTEMS[name]["label"]]["Lead kept"] == f"{100 * kept:.0f} %"
    assert set(table["CR-CTC"].values()) == {"CR-CTC", "not run", "–"}


def test_comparisons_of_the_table(finished):
    """As many seeds: differences are those of the pooled errors, and p-values are of items and seeds."""
    text = (finished / "RESULTS.md").read_text()
    compared = next(table for table in tables(text) if "Less" in table[0])
    found = {(row["System"], row["Less"]): row["WER %"] for row in compared}
    names = {about["label"]: name for name, about in SYSTEMS.items()}
    assert list(found) == [
        ("Student", "KD"),
        ("KD", "Student (control)"),
        ("KD twice", "KD"),
        ("Cons-KD", "KD"),
        ("Cons-KD", "KD twice (control)"),
    ]
    for (one, other), cell in found.items():
        (ours, words), (theirs, _) = (errors(finished, names[each.removesuffix(" (control)")]) for each in (one, other))
        delta = 100 * (ours.sum() - theirs.sum()) / words.sum() / len(ours)
        assert cell.startswith(f"{delta:+.2f}".replace("-", "−"))
        value = paired_bootstrap(ours, theirs, words, seed=5).p_value
        assert ("†" in cell) == (value < 0.001)
        if value > 0.2:  # seeds make the comparison more cautious, never less
            assert float(re.search(r"p = ([\d.]+)", cell)[1]) > value - 0.1
    assert "uncorrected for 4 comparisons." in text


def test_matched_pairs_of_the_table(finished):
    """Of both sets and all seeds together, a segment ending where every seed of both systems is right."""

    def where(name):
        runs = []
        for directory in sorted((finished / "exp" / name).glob("seed*")):
            texts = [
                (reference, read_text(directory / f"decode_{test_set}" / "text")[utterance])
                for test_set in SETS
                for utterance, reference in read_text(finished / "data" / test_set / "text").items()
            ]
            runs.append(count(*map(list, zip(*texts, strict=True)), characters=False).alignments.errors())
        first = runs[0]
        return Errors(sum(run.at for run in runs), sum(run.before for run in runs), first.words, first.positions)

    rows = next(table for table in tables((finished / "RESULTS.md").read_text()) if "Segments" in table[0])
    found = {row["Systems"]: row for row in rows}
    assert found.keys() == {"KD – Student", "KD – KD twice", "Cons-KD – KD", "Cons-KD – KD twice"}
    for label, name, other in (("Cons-KD – KD twice", "cons_kd", "kd_2"), ("KD – KD twice", "kd", "kd_2")):
        expected = matched_pairs(where(name), where(other))
        assert float(found[label]["p"].removesuffix(" †")) == pytest.approx(expected.p_value, abs=6e-4)
        assert int(found[label]["Segments"]) == expected.segments
        assert found[label]["Z"] == f"{expected.z:+.2f}".replace("-", "−")


def test_sentences(finished):
    text = (finished / "RESULTS.md").read_text()
    shown = text.partition("## What the tables show")[2].partition("## Figures")[0]
    assert re.search(
        r"\*\*Teacher\*\* has [\d.]+ % WER, \*\*Student\*\* [\d.]+ %: a lead of [\d.]+ points of WER", shown
    )
    assert re.search(
        r"\*\*KD\*\* has [\d.]+ points of WER less than its equal-budget control, \*\*Student\*\* "
        r"\([\d.]+ % relative, p [<=] \.00\d\): a gain is shown. It keeps \d+ % of the teacher's lead.",
        shown,
    )
    assert re.search(
        r"\*\*Cons-KD\*\* has .* than its equal-budget control, \*\*KD twice\*\* \(.*, p = .*\): no difference from "
        r"the consistency term is shown. It has .* than \*\*KD\*\* \(.*, p = .*\). It keeps",
        shown,
    )
    assert "- From one seed only, so that another seed may change them: **Teacher**.\n" in shown
    assert "- Not run: **CR-CTC**.\n" in shown


def test_the_legend_says_what_is_drawn(finished):
    text = (finished / "RESULTS.md").read_text()
    assert (
        "bootstrap over utterances and seeds (2,000 replicates; 1,000 of measures in which systems are not compared, "
        "seed 0)" in text
    )
    assert "Of a system with one seed they are over utterances only, marked *items only*" in text
    several = report(finished, {"kd": {}, "kd_2": {}}, out="several/RESULTS.md")
    assert "items only" not in several


def test_origin_and_settings(finished):
    text = (finished / "RESULTS.md").read_text()
    assert text.startswith("# A title\n")
    for line in [
        "- Command: `run.sh --preset smoke`",
        "- Date: 2024-05-06",
        "- Training time: 26 minutes for 13 runs",
        "data.dir: data",
        "- KD twice: `loss.passes=2`",
    ]:
        assert line in text
    for revealing in str(finished), "/somewhere", "/home":
        assert revealing not in text
    assert "seed:" not in text


def test_figures(finished):
    from PIL import Image

    text = (finished / "RESULTS.md").read_text()
    for name in "scores", "training", "losses":
        assert f"(figures/{name}.png)" in text
        path = finished / "figures" / f"{name}.png"
        assert path.stat().st_size < 100_000
        with Image.open(path) as image:
            assert image.width > 700
            assert len(image.getcolors()) > 50


def test_deterministic(finished):
    figure = finished / "figures" / "training.png"
    text, drawn = (finished / "RESULTS.md").read_text(), figure.read_bytes()
    assert report(finished, out="again/RESULTS.md") == text
    assert (finished / "again" / "figures" / "training.png").read_bytes() == drawn


def test_one_test_set_notes_and_environment(finished):
    text = report(
        finished,
        out="one/RESULTS.md",
        test_sets=["clean"],
        notes=["Tried and dropped: X."],
        environment={"GPU": "a GPU"},
    )
    assert not any("clean, WER" in column for column in tables(text)[0][0])
    assert "## Notes\n\nTried and dropped: X.\n" in text
    assert "- GPU: a GPU\n" in text
    assert "CPU:" not in text


def test_without_teacher_student_and_baseline(finished):
    text = report(finished, {"kd_2": {}, "cons_kd": {"control": "kd_2"}}, out="two/RESULTS.md")
    assert "Lead kept" not in text
    assert "than its equal-budget control, **kd_2**" in text
    assert "uncorrected for 1 comparison." in text
    alone = report(finished, {"kd_2": {}}, out="alone/RESULTS.md")
    assert "p-values" not in alone and "Matched pairs" not in alone


@pytest.fixture
def small(tmp_path):
    """Teacher and student, alike and perfect; one seed each."""
    references = make_references(tmp_path / "data", ["test"], utterances=20)
    for name in "teacher", "student", "kd":
        make_run(tmp_path / "exp" / name / "seed1", references, 1e-9, seed=1, passes=1 + (name == "kd"))
    return tmp_path


def test_no_errors_and_no_lead(small):
    history = small / "exp" / "kd" / "seed1" / "history.json"
    history.write_text(json.dumps({"rows": [{"step": 1, "dev_wer": 0.0, "train": {"ctc": 0.0}}]}))
    text = report(small, {name: SYSTEMS[name] for name in ("teacher", "student", "kd")}, test_sets=["test"])
    assert "**Student** 0.00 %: the teacher is not ahead, so there is no lead to keep." in text
    compared = {(row["System"], row["Less"]): row["WER %"] for row in tables(text)[1]}
    assert compared["KD", "Student (control)"] == "+0.00, p = 1.000"
    assert "no difference is shown." in text
    assert "did not have equal budgets: 4,000 against 2,000 passes" in text


def with_confidences(decoded, confidence):
    """Write hyp.jsonl, whose words have a confidence each: a function of the word."""
    lines = [
        {"id": utterance, "text": text, "confidences": [confidence(word) for word in text.split()]}
        for utterance, text in read_text(decoded / "text").items()
    ]
    (decoded / "hyp.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_calibration_columns(small):
    def cells():
        return table_with(report(small, {"kd": {"label": "KD"}}, test_sets=["test"]), "S % [95 %] ± seeds")["KD"]

    assert cells()["ECE % [95 %] ± seeds"] == cells()["NCE [95 %] ± seeds"] == "–"
    decoded = small / "exp" / "kd" / "seed1" / "decode_test"
    for confidence, cell in ((0.9, "10.00 [10.00, 10.00]"), (1.0, "0.00 [0.00, 0.00]")):  # every word is right
        with_confidences(decoded, lambda _, value=confidence: value)
        assert cells()["ECE % [95 %] ± seeds"] == cell
        assert cells()["NCE [95 %] ± seeds"] == "–"


def test_calibration_is_the_mean_over_seeds(small):
    make_run(small / "exp" / "kd" / "seed2", {"test": read_text(small / "data" / "test" / "text")}, 0.2, seed=2)
    measured = []
    for seed in (1, 2):
        decoded = small / "exp" / "kd" / f"seed{seed}" / "decode_test"
        with_confidences(decoded, lambda word: 0.95 if word != "eight" else 0.4)
        correct, confidences = [], []
        for utterance, reference in read_text(small / "data" / "test" / "text").items():
            text = read_text(decoded / "text")[utterance]
            sure = [0.95 if word != "eight" else 0.4 for word in text.split()]
            for chunk in jiwer.process_words(reference, text).alignments[0]:
                right = [chunk.type == "equal"] * (chunk.hyp_end_idx - chunk.hyp_start_idx)
                correct += right
                confidences += sure[chunk.hyp_start_idx : chunk.hyp_end_idx]
        measured.append(Calibration().update(confidences, correct).summary().ece)
    cell = table_with(report(small, {"kd": {}}, test_sets=["test"]), "S % [95 %] ± seeds")["kd"]["ECE % [95 %] ± seeds"]
    assert float(cell.split()[0]) == pytest.approx(
        100 * np.mean(measured), abs=1
    )  # jiwer breaks a tie or two otherwise
    assert "±" in cell


def test_unfinished_seeds_are_named(small):
    make_run(small / "exp" / "kd" / "seed2", {}, 0.1, seed=2)  # trained, never decoded
    (small / "exp" / "kd" / "seed7").mkdir()
    text = report(small, {"kd": {"label": "KD"}}, test_sets=["test"])
    assert table_with(text, "Parameters")["KD"]["Seeds"] == "1 (items only)"
    assert "**KD**: unfinished and left out: seed 2, 7." in text


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda run: (run / "summary.json").write_text("{"), "summary.json, line 1: not JSON"),
        (
            lambda run: (run / "summary.json").write_text('{"steps": 1}'),
            "summary.json lacks parameters, passes",
        ),
        (
            lambda run: (run / "history.json").unlink(),
            "history.json: no such file, although the run has a summary.",
        ),
        (lambda run: (run / "config.yaml").write_text("a: ["), "config.yaml is not YAML"),
        (
            lambda run: write_text(run / "decode_test" / "text", {"test-0001": "x"}),
            "text: 19 utterances (test-0000, test-0002, test-0003, ...) are without a hypothesis",
        ),
    ],
)
def test_faults(small, spoil, sentence):
    spoil(small / "exp" / "kd" / "seed1")
    with pytest.raises(DataError) as fault:
        report(small, {"kd": {}}, test_sets=["test"])
    assert sentence in str(fault.value)


def test_runs_of_other_settings_are_not_averaged(small):
    references = {"test": read_text(small / "data" / "test" / "text")}
    for seed, updates in ((2, 2000), (3, 500)):
        made_from = {"teacher": f"hash{seed}"}
        training = {"steps": updates}
        run = small / "exp" / "kd" / f"seed{seed}"
        make_run(run, references, 0.2, seed=seed, passes=2, training=training, made_from=made_from)
    with pytest.raises(DataError, match=r"training.steps is 2000 in \S+seed1 and 500 in \S+seed3; train with"):
        report(small, {"kd": {}}, test_sets=["test"])
    shutil.rmtree(small / "exp" / "kd" / "seed3")
    assert table_with(report(small, {"kd": {}}, test_sets=["test"]), "Seeds")["kd"]["Seeds"] == "2"


def test_what_was_decoded_otherwise_is_named(small):
    for name, beam in (("teacher", 1), ("student", 1), ("kd", 16)):
        stamp = small / "exp" / name / "seed1" / "decode_test" / "decode.json"
        stamp.write_text(json.dumps({"model": name, "beam": beam, "features": {"data": name}}))
    text = report(small, {name: SYSTEMS[name] for name in ("teacher", "student", "kd")}, test_sets=["test"])
    assert "Decoded with other settings than most systems (beam=1): **KD**: beam=16." in text


def test_scores_of_a_decoding_that_is_gone_are_not_reported(small):
    references = {"test": read_text(small / "data" / "test" / "text")}
    make_run(small / "exp" / "kd" / "seed2", references, 0.2, seed=2, passes=2)
    report(small, {"kd": {}, "student": {}}, test_sets=["test"])
    (small / "exp" / "kd" / "seed1" / "decode_test" / "text").unlink()  # as at the start of another decoding
    assert "unfinished and left out: seed 1" in report(small, {"kd": {}, "student": {}}, test_sets=["test"])


def test_nothing_to_report(small):
    with pytest.raises(DataError, match="holds no finished run of other; nothing to report"):
        report(small, {"other": {}}, test_sets=["test"])


def test_control_outside_the_report(small):
    text = report(small, {"kd": {"control": "other"}}, test_sets=["test"])
    assert "p-values" not in text  # nothing is compared


def test_a_changed_reference_is_counted_anew(small):
    before = table_with(report(small, {"kd": {}}, test_sets=["test"]), "Parameters")["kd"]["WER % [95 %] ± seeds"]
    path = small / "data" / "test" / "text"
    path.write_text(path.read_text().replace(" zero", " nought"))
    os.utime(path, (1, 1))
    after = table_with(report(small, {"kd": {}}, test_sets=["test"]), "Parameters")["kd"]["WER % [95 %] ± seeds"]
    assert before.startswith("**0.00**") and not after.startswith("**0.00**")


def test_arguments(small):
    with pytest.raises(ConfigError, match="0 replicates of the bootstrap; expected at least 1"):
        report(small, test_sets=["test"], replicates=0)
    with pytest.raises(DataError, match="There are no test sets"):
        report(small, test_sets=[])


def test_commit(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    inside = tmp_path / "egs"
    inside.mkdir()
    git("init")
    assert describe_commit(inside) is None
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "m")
    out = inside / "RESULTS.md"
    out.write_text("")
    assert re.fullmatch("[0-9a-f]{12}", describe_commit(inside, ignore=[out]))
    (tmp_path / "code.py").write_text("2")
    assert re.fullmatch(r"[0-9a-f]{12} \+ uncommitted changes", describe_commit(inside, ignore=[out]))


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        ("/home/x/run.sh --exp=/data/exp/", "run.sh --exp=exp"),
        ("{a: '/x/y', b: ~/z}", "{a: 'y', b: z}"),
        ("egs/a/run.sh ./b/c ../d S / D / I and/or 1/2", "egs/a/run.sh ./b/c ../d S / D / I and/or 1/2"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_without_paths(text, shortened):
    assert without_paths(text) == shortened


def test_environment():
    environment = describe_environment()
    assert environment.keys() == {"Software", "System", "CPU"}
    assert "Python 3" in environment["Software"]


def test_labels_are_moved_apart():
    assert _spread([0.1, 0.5], gap=0.1) == [0.1, 0.5]
    assert _spread([0.5, 0.5, 0.5], gap=0.1) == pytest.approx([0.4, 0.5, 0.6])
    moved = _spread(sorted(np.random.default_rng(0).random(12) ** 3), gap=0.05)
    assert min(np.diff(moved)) >= 0.05 - 1e-9
