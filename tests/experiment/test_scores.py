"""Scores are up to date by content, for every task, and ``report.expect`` is judged by them."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.experiment.check import check
from seqkd.experiment.scores import Scores, Undecoded, score
from seqkd.shots.decoding import DecodedSong, write_decoded
from seqkd.statistics.table import Table
from seqkd.tasks.asr.scores import AsrScores
from seqkd.tasks.shots.scores import ShotsScores
from tests.experiment import report_experiment
from tests.experiment.report_experiment import settings
from tests.shots.songs import write_set
from tests.translation import made_translations


@dataclass
class Case:
    """A task, how its data and one decoding ``exp/kd/seed0/decode_test`` are made, and the file of its references."""

    task: Scores
    make: Callable[[Path], None]
    reference: str


def make_speech(root):
    references = report_experiment.make_references(root / "data", ["test"], utterances=20)
    report_experiment.make_run(root / "exp" / "kd" / "seed0", references, 0.2, seed=0)
    speakers = "".join(f"{utterance} {utterance[-1]}\n" for utterance in references["test"])
    (root / "data" / "test" / "utt2spk").write_text(speakers)


def make_translation(root):
    references = made_translations.make_references(root / "data", ["test"], sentences=20)
    made_translations.make_run(root / "exp" / "kd" / "seed0", references, 2.0)


def make_shots(root):
    write_set(root / "data", "test", 3, 40)
    shots = {f"song{n:03d}": np.arange(40 + n % 3) // 9 for n in range(3)}
    decoded = {key: DecodedSong(found, np.full((len(found), 8), 1 / 8)) for key, found in shots.items()}
    write_decoded(root / "exp" / "kd" / "seed0" / "decode_test", decoded, {})


def other_words(path):
    """Another last word (speaker, shot) in the last line."""
    if path.name == "shots.csv":
        return path.read_bytes().replace(b"CU", b"LS", 1)
    last = {"tgt": "ba", "text": "one"}.get(path.name, "other")
    lines = path.read_text().splitlines()
    return "\n".join([*lines[:-1], " ".join([*lines[-1].split()[:-1], last])]).encode() + b"\n"


def other_translation(path):
    lines = path.read_text().splitlines()
    last = json.loads(lines[-1])
    return "\n".join([*lines[:-1], json.dumps({**last, "text": "ba"})]).encode() + b"\n"


CASES = {
    "asr": Case(AsrScores(), make_speech, "text"),
    "translation": Case(made_translations.Scores(), make_translation, "tgt"),
    "shots": Case(ShotsScores(), make_shots, "shots.csv"),
}
CHANGED = [
    *(("asr", "data/test/text", other_words), ("asr", "data/test/utt2spk", other_words)),
    ("asr", "exp/kd/seed0/decode_test/text", other_words),
    ("translation", "data/test/tgt", other_words),
    ("translation", "exp/kd/seed0/decode_test/hyp.jsonl", other_translation),
    ("shots", "data/test/shots.csv", other_words),
    ("shots", "exp/kd/seed0/decode_test/decoded.safetensors", None),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data and a decoding of every task."""
    roots = {}
    for name, case in CASES.items():
        roots[name] = tmp_path_factory.mktemp(name)
        case.make(roots[name])
    return roots


def scored(case, root, **report):
    return score(case.task, settings(root, ["test"], **report), "kd", 0, "test")


@pytest.mark.parametrize(("name", "file", "change"), CHANGED, ids=[f"{one[0]}: {one[1]}" for one in CHANGED])
def test_what_changed_is_scored_anew_whatever_its_time(made, tmp_path, capsys, name, file, change):
    case, root = CASES[name], tmp_path / "root"
    shutil.copytree(made[name], root)
    first = scored(case, root)
    outputs = [root / "exp" / "kd" / "seed0" / "decode_test" / output for output in case.task.outputs]
    times = [path.stat().st_mtime_ns for path in outputs]
    assert capsys.readouterr().out.startswith("kd seed 0, test: ")
    # Nothing changed: nothing is done, though every file is newer than the scores.
    for path in root.rglob("*"):
        if path not in outputs:
            os.utime(path, (4e9, 4e9))
    assert scored(case, root) == first
    assert [path.stat().st_mtime_ns for path in outputs] == times
    assert capsys.readouterr().out == ""
    # A corrected file takes the place of the old one, with an older time, as `cp -p` and `rsync -a` leave it.
    path = root / file
    if change:
        path.write_bytes(change(path))
    else:
        shots = {f"song{n:03d}": np.arange(40 + n % 3) // 7 for n in range(3)}
        decoded = {key: DecodedSong(found, np.full((len(found), 8), 1 / 8)) for key, found in shots.items()}
        write_decoded(path.parent, decoded, {})
    os.utime(path, (1, 1))
    again = scored(case, root)
    assert again["made_by"] != first["made_by"]
    assert all(path.stat().st_mtime_ns > before for path, before in zip(outputs, times, strict=True))
    if "utt2spk" in file:
        assert again["scores"] == first["scores"] and again["systems"] != first["systems"]
    else:
        assert again["scores"] != first["scores"]
    assert capsys.readouterr().out.startswith("kd seed 0, test: ")


@pytest.mark.parametrize("name", CASES)
def test_an_output_that_is_gone_or_damaged_is_made_again(made, tmp_path, name):
    case, root = CASES[name], tmp_path / "root"
    shutil.copytree(made[name], root)
    first = scored(case, root)
    decoded = root / "exp" / "kd" / "seed0" / "decode_test"
    for output in case.task.outputs:
        (decoded / output).unlink()
        assert scored(case, root) == first
        assert (decoded / output).is_file()
    (decoded / "score.json").write_text("{")
    assert scored(case, root) == first
    assert json.loads((decoded / "score.json").read_text()) == first


@pytest.mark.parametrize("name", CASES)
def test_scores_follow_from_the_counts(made, tmp_path, name):
    case, root = CASES[name], tmp_path / "root"
    shutil.copytree(made[name], root)
    found = scored(case, root)
    table = Table.load(root / "exp" / "kd" / "seed0" / "decode_test" / "counts.npz")
    assert found["items"] == len(table)
    measures = (*case.task.measures, *case.task.further)
    assert list(found["scores"]) == [measure.key for measure in measures]
    for measure in measures:
        value, one = float(measure.value(table.total())), found["scores"][measure.key]
        assert one["value"] == (pytest.approx(value) if np.isfinite(value) else None)
        assert (one["ci95"] is None) == (one["value"] is None)


@pytest.mark.parametrize("name", CASES)
def test_nothing_decoded(made, tmp_path, name):
    case, root = CASES[name], tmp_path / "root"
    shutil.copytree(made[name], root)
    shutil.rmtree(root / "exp" / "kd" / "seed0" / "decode_test")
    with pytest.raises(Undecoded, match=r"run .*--stage decode"):
        scored(case, root)
    assert not (root / "exp" / "kd" / "seed0" / "decode_test").exists()


@pytest.mark.parametrize("name", ["asr", "translation"])
def test_references_that_are_gone(made, tmp_path, name):
    case, root = CASES[name], tmp_path / "root"
    shutil.copytree(made[name], root)
    (root / "data" / "test" / case.reference).unlink()
    with pytest.raises(ConfigError, match=r"is missing: a test set needs .*; name another set in sets\.test"):
        scored(case, root)


def test_confidences_of_other_words_are_not_taken(made, tmp_path):
    """A ``hyp.jsonl`` that is not of the same decoding as ``text``."""
    root = tmp_path / "root"
    shutil.copytree(made["asr"], root)
    decoded = root / "exp" / "kd" / "seed0" / "decode_test"
    lines = [line.partition(" ") for line in (decoded / "text").read_text().splitlines()]

    def write(texts):
        entries = [
            {"id": key, "text": text, "confidences": [0.75] * len(text.split())}
            for (key, _, _), text in zip(lines, texts, strict=True)
        ]
        (decoded / "hyp.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return scored(CASES["asr"], root)["scores"]

    plain = scored(CASES["asr"], root)["scores"]
    assert plain["ece"]["value"] is None
    assert write(["nine"] * len(lines)) == plain
    same = write([text for *_, text in lines])
    assert same["wer"] == plain["wer"] and same["ece"]["value"] is not None


# ---- report.expect


@pytest.fixture
def speech(made, tmp_path):
    """A scored run, its WER in %, and a second seed that is perfect."""
    root = tmp_path / "root"
    shutil.copytree(made["asr"], root)
    rate = 100 * scored(CASES["asr"], root)["scores"]["wer"]["value"]
    return root, rate


def checked(root, expect, chosen=("kd",), task=CASES["asr"].task, **report):
    check(task, settings(root, ["test"], expect=expect, **report), chosen)


@pytest.mark.parametrize("nested", [False, True])
def test_limits_of_errors_are_upper_ones(speech, capsys, nested):
    root, rate = speech
    limit = (lambda value: {"wer": value}) if nested else (lambda value: value)
    checked(root, {"kd": limit(rate + 0.1)})
    assert capsys.readouterr().out == f"kd on test: {rate:.2f} % WER, must be at most {rate + 0.1:g} %: reached\n"
    with pytest.raises(SeqkdError, match=rf"kd has {rate:.2f} % WER on test; this preset must reach at most 1 %"):
        checked(root, {"kd": limit(1)})


def test_limits_of_scores_are_lower_ones(made, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(made["translation"], root)
    value = scored(CASES["translation"], root)["scores"]["bleu"]["value"]
    task = CASES["translation"].task
    checked(root, {"kd": {"bleu": value - 1, "nll": 50}}, task=task)
    with pytest.raises(SeqkdError, match="BLEU on test; this preset must reach at least 99"):
        checked(root, {"kd": 99}, task=task)
    with pytest.raises(SeqkdError, match=r"NLL on test; this preset must reach at most 0\.01"):
        checked(root, {"kd": 0.01}, task=task, expect_metric="nll")


def test_the_mean_over_seeds_is_judged(speech):
    root, rate = speech
    second = root / "exp" / "kd" / "seed1" / "decode_test"
    shutil.copytree(root / "exp" / "kd" / "seed0" / "decode_test", second)
    shutil.copy(root / "data" / "test" / "text", second / "text")
    score(AsrScores(), settings(root, ["test"]), "kd", 1, "test")
    checked(root, {"kd": rate / 2 + 0.01})
    with pytest.raises(SeqkdError, match="must reach"):
        checked(root, {"kd": rate / 2 - 0.01})


def test_a_system_that_was_not_chosen_is_left_out_with_a_word(speech, capsys):
    root, _ = speech
    checked(root, {"cons_kd": 1})
    assert capsys.readouterr().out.startswith("cons_kd is not among the systems chosen here")
    with pytest.raises(SeqkdError, match=r"cons_kd has no scored decoding of test; run .*--stage score"):
        checked(root, {"cons_kd": 1}, chosen=["kd", "cons_kd"])


@pytest.mark.parametrize(
    ("expect", "report", "sentence"),
    [
        (
            {},
            {"expect_metric": "war"},
            r"report\.expect_metric is 'war'; expected one of wer, cer, .*did you mean wer\?",
        ),
        ({"kd": {"cerr": 1}}, {}, r"a measure of report\.expect\.kd is 'cerr'; expected one of .*did you mean cer\?"),
        ({"kd": "ten"}, {}, r"report\.expect\.kd has the limit 'ten' for wer; expected a number"),
        ({"kd": True}, {}, "expected a number"),
    ],
)
def test_what_cannot_be_expected(speech, expect, report, sentence):
    with pytest.raises(ConfigError, match=sentence):
        checked(speech[0], expect, **report)


def test_what_is_undefined_or_has_no_better_side(speech, made):
    with pytest.raises(DataError, match=r"has no ECE on test, which report\.expect names: it is undefined there"):
        checked(speech[0], {"kd": {"ece": 5}})  # there are no confidences
    with pytest.raises(ConfigError, match="names ds, of which neither more nor less is better"):
        checked(made["shots"], {"kd": {"ds": 5}}, task=ShotsScores())
