"""Formats that know times, speakers and confidences."""

import json

import pytest

from seqkd.scoring import write_text
from seqkd.scoring.evaluate import evaluate
from seqkd.scoring.formats import read_hypotheses, read_jsonl, read_nbest, read_references, read_seglst

STM = """;; a comment
f1 A anna 0.0 5.0 <o,f0> a b c
f1 A ben 10.0 15.0 d { e / f }
f1 A ben 15.0 17.0 IGNORE_TIME_SEGMENT_IN_SCORING
f1 A anna 20.0 25.0 g
f2 1 eve 0.0 2.0 h
"""
CTM = """;; file channel begin duration word confidence
f1 A 1.0 0.5 a 0.9
f1 A 2.0 0.5 b 0.8
f1 A 4.8 0.5 c 0.7
f1 A 7.0 0.5 gap 0.6
f1 A 12.0 0.5 d 0.5
f1 A 13.0 0.5 f 0.4
f1 A 16.0 0.5 ignored 0.3
f1 A 19.8 0.5 before 0.2
f1 A 21.0 0.5 g 0.2
f1 A 26.0 0.5 after 0.1
f2 1 0.5 0.5 h 1.0
"""


@pytest.fixture
def timed(tmp_path):
    (tmp_path / "ref.stm").write_text(STM)
    (tmp_path / "hyp.ctm").write_text(CTM)
    return tmp_path


def test_words_by_time_go_where_sclite_puts_them(timed):
    references, segments = read_references(timed / "ref.stm")
    assert references.texts == {
        "f1-A-0.00-5.00": "a b c",
        "f1-A-10.00-15.00": "d { e / f }",
        "f1-A-20.00-25.00": "g",
        "f2-1-0.00-2.00": "h",
    }
    assert list(references.speakers.values()) == ["anna", "ben", "anna", "eve"]
    assert list(references.durations.values()) == [5.0, 5.0, 5.0, 2.0]
    hypotheses = read_hypotheses(timed / "hyp.ctm", segments)
    # By the middle of a word; what falls between segments to the next one, what follows the last one to that.
    assert hypotheses.texts == {
        "f1-A-0.00-5.00": "a b",
        "f1-A-10.00-15.00": "c gap d f",
        "f1-A-20.00-25.00": "before g after",
        "f2-1-0.00-2.00": "h",
    }
    assert hypotheses.confidences["f1-A-10.00-15.00"] == [0.7, 0.6, 0.5, 0.4]


def test_scoring_by_time(timed):
    system = evaluate(timed / "ref.stm", {"x": timed / "hyp.ctm"}).json["systems"]["x"]
    # sclite says 1 deletion and 4 insertions (gap and c; before and after), and takes f of the alternatives.
    assert [system["wer"][kind] for kind in ("substitutions", "deletions", "insertions", "words")] == [0, 1, 4, 7]
    assert system["per_speaker"].keys() == {"anna", "ben", "eve"}
    assert [row["range"] for row in system["by_duration"]] == ["2–5", "5–10"]
    assert system["calibration"]["count"] == 10


def test_a_file_without_words_is_a_missing_hypothesis(timed):
    (timed / "hyp.ctm").write_text("".join(CTM.splitlines(keepends=True)[:-1]))
    _, segments = read_references(timed / "ref.stm")
    assert "f2-1-0.00-2.00" not in read_hypotheses(timed / "hyp.ctm", segments).texts


def test_seglst(tmp_path):
    segments = [
        {"session_id": "m1", "speaker": "A", "start_time": 3.0, "end_time": 4.5, "words": "two three"},
        {"session_id": "m1", "speaker": "A", "start_time": "1", "end_time": "2", "words": "one"},
        {"session_id": "m1", "speaker": "B", "words": ""},
        {"session_id": "m2", "words": "x"},
        {"segment_id": "own", "session_id": "m3", "words": "y"},
    ]
    (tmp_path / "x.json").write_text(json.dumps(segments, indent=1))
    read = read_seglst(tmp_path / "x.json")
    assert read.texts == {"m1-A": "one two three", "m1-B": "", "m2": "x", "own": "y"}
    assert read.speakers == {"m1-A": "A", "m1-B": "B"}
    assert read.durations == {"m1-A": 2.5}


def test_jsonl(tmp_path):
    lines = [
        {"id": "a", "text": "one two", "speaker": 7, "duration": 1.5, "confidences": [1, 0.5], "nbest": ["one", ""]},
        {"id": "b", "text": "", "else": None},
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = read_jsonl(tmp_path / "x.jsonl")
    assert read.texts == {"a": "one two", "b": ""}
    assert (read.speakers, read.durations, read.confidences) == ({"a": "7"}, {"a": 1.5}, {"a": [1.0, 0.5]})
    assert read.nbest == {"a": ["one", ""]}
    assert read_nbest(tmp_path / "x.jsonl") == {"a": ["one", ""], "b": [""]}


def test_nbest_in_kaldi_form(tmp_path):
    write_text(tmp_path / "nbest", {"utt-a-2": "second", "utt-a-10": "tenth", "utt-a-1": "first", "b-1": ""})
    assert read_nbest(tmp_path / "nbest") == {"b": [""], "utt-a": ["first", "second", "tenth"]}
