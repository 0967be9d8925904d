"""Formats by content, and what a lenient and a strict reading make of files that depart from theirs."""

import gzip
import io
import json
import sys

import pytest

from seqkd.cli.main import main
from seqkd.errors import ConfigError, DataError
from seqkd.scoring.evaluate import Options, evaluate
from seqkd.scoring.formats import Reading, read_hypotheses, read_plain, read_references, read_seglst, read_stm
from seqkd.scoring.formats.detect import detect

LENIENT = Options(replicates=1, paired_replicates=1)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("csrnab1.ref", "SO FAR { A / B } (4t0c0203)\nMOREOVER (4t0c020f)\n", "trn by its content"),
        ("x.TRN", "a (u-1)\n", "trn by its name"),
        ("x.trn.txt", "a (u-1)\n", "trn by its name"),
        ("ref.txt", "u-1 one two\nu-2 three\n", "text by its content"),
        ("text", "a one\nb two\n", "text by its name"),
        ("stm", "f A x 0 1 a\n", "stm by its name"),
        ("refs", ";; c\nf A x 0 1.5 <o> a b\nf A x 2 3\n", "stm by its content"),
        ("hyps", "f A 0.1 0.2 a\nf A 0.3 0.2 b 0.5\n", "ctm by its content"),
        ("hyps", "f A * * <ALT_BEGIN>\nf A 0.3 0.2 b NA\n", "ctm by its content"),
        ("x", '[{"session_id": "a"}]', "seglst by its content"),
        ("x.json", '{"id": "a", "text": "b"}\n{"id": "b", "text": "b"}\n', "jsonl by its content"),
        ("manifest.json", '{"audio_filepath": "a.wav", "text": "b"}\n', "nemo by its content"),
        ("x.tsv", "client_id\tpath\tsentence\na\tb.mp3\tc d\n", "csv by its name"),
        ("x.dat", "id;text\na;b\n", "csv by its content"),
    ],
)
def test_formats(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content)
    assert " ".join(detect(tmp_path / name, Reading())) == expected
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    assert detect(tmp_path / f"{name}.gz", Reading())[0] == expected.split()[0]
    assert detect(tmp_path / name, Reading(), "lines") == ("lines", "by --format")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("ref", "turn the light on\ngood morning\n", "the format cannot be recognised: the lines begin with no ids"),
        ("x.stm", "a (u-1)\nb (u-2)\n", "named as stm, and looks like trn; say which with --format."),
        ("x.json", "a b\n", "named as JSON, and begins with neither [ nor {"),
        ("x", "\n\n", "holds no transcripts, so that its format cannot be recognised."),
    ],
)
def test_what_cannot_be_recognised(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as fault:
        detect(tmp_path / name, Reading())
    assert sentence in str(fault.value)
    with pytest.raises(ConfigError, match="there is no format 'xml'; known: text, trn"):
        detect(tmp_path / name, Reading(), "xml")


def test_what_was_found_is_said(tmp_path, capsys):
    (tmp_path / "a.ref").write_text("a { b / c } (u-1)\n")
    (tmp_path / "a.hyp").write_text("u-1 a c\n")
    assert main(["score", "--ref", str(tmp_path / "a.ref"), "--hyp", f"x={tmp_path / 'a.hyp'}"]) == 0
    assert "Formats: a.ref trn (by its content); a.hyp text (as the references)." in capsys.readouterr().out
    lines = ["--format", "lines"]
    assert main(["score", "--ref", str(tmp_path / "a.ref"), "--hyp", f"x={tmp_path / 'a.hyp'}", *lines]) == 0
    assert "a.ref lines (by --format)" in capsys.readouterr().out
    both = ["--format", "ref=lines", "--format", "x=text"]
    assert main(["score", "--ref", str(tmp_path / "a.ref"), "--hyp", f"x={tmp_path / 'a.hyp'}", *both]) == 1


def test_plain_lines(tmp_path):
    (tmp_path / "r").write_text("a one two\n\nb three\n")
    (tmp_path / "h").write_text("a one\n\nb four\n")
    done = evaluate(tmp_path / "r", {"x": tmp_path / "h"}, Options(formats={"": "lines"}, replicates=1))
    assert (done.scores["x"].wer.errors, done.scores["x"].wer.words) == (2, 5)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_the_last_line_may_be_blank(tmp_path, encoding):
    (tmp_path / "r").write_text("one two\nthree\nfour\n")
    (tmp_path / "h").write_text("one two\nthree\n\n")
    options = Options(formats={"": "lines"}, missing="present", encoding=encoding, replicates=1)
    done = evaluate(tmp_path / "r", {"x": tmp_path / "h"}, options).scores["x"]
    assert (done.wer.deletions, done.wer.words, done.utterances.missing) == (1, 4, ())
    for content in ("one two\nthree", "one two\nthree\n", "one two\r\nthree\r\n"):
        (tmp_path / "h").write_bytes(content.encode())
        assert read_plain(tmp_path / "h", Reading(encoding=encoding)) == {"1": "one two", "2": "three"}
    (tmp_path / "h").write_text("\n\n\n")  # a recogniser that found no word at all
    assert evaluate(tmp_path / "r", {"x": tmp_path / "h"}, options).scores["x"].wer.deletions == 4
    (tmp_path / "h").write_text("")
    with pytest.raises(DataError, match="holds no transcripts; expected one a line"):
        read_plain(tmp_path / "h", Reading(encoding=encoding))


def test_the_newline_at_the_end_is_no_blank_line(tmp_path):
    (tmp_path / "r.trn").write_text("我 们 (u-1)\n", "gb18030")
    done = evaluate(tmp_path / "r.trn", {"x": tmp_path / "r.trn"}, Options(encoding="gb18030", reading="strict"))
    assert done.scores["x"].wer.errors == 0


def test_each_side_is_read_as_its_format_or_as_asked(tmp_path):
    (tmp_path / "r").write_text("u-1 it is fine\n")
    (tmp_path / "h.trn").write_text("{ it's / it is } fine @ (u-1)\n")
    (tmp_path / "h").write_text("u-1 { it's / it is } (uh) fine\n")
    assert evaluate(tmp_path / "r", {"x": tmp_path / "h.trn"}, LENIENT).scores["x"].wer.errors == 0
    for markup, errors in {"auto": 5, "none": 5, "alternatives": 1, "all": 0}.items():
        options = Options(markup=markup, replicates=1, paired_replicates=1)
        done = evaluate(tmp_path / "r", {"x": tmp_path / "h"}, options).scores["x"]
        assert (markup, done.wer.errors) == (markup, errors)


def test_formats_of_files_that_there_are(tmp_path):
    (tmp_path / "r").write_text("u-1 a\n")
    with pytest.raises(ConfigError, match="--format zzz is neither ref nor a system; known: ref, x, y"):
        evaluate(tmp_path / "r", {"x": tmp_path / "r", "y": tmp_path / "r"}, Options(formats={"zzz": "trn"}))


def test_standard_input_and_other_encodings(tmp_path, monkeypatch):
    (tmp_path / "r").write_text("我 们 (u-1)\n", "gb18030")
    stream = io.TextIOWrapper(io.BytesIO("我 (u-1)\n".encode("gb18030")))
    monkeypatch.setattr(sys, "stdin", stream)
    done = evaluate(tmp_path / "r", {"x": "-"}, Options(encoding="gb18030", replicates=1))
    assert done.scores["x"].wer.errors == 1
    with pytest.raises(DataError, match="the text is not UTF-8"):
        evaluate(tmp_path / "r", {"x": tmp_path / "r"}, LENIENT)
    with pytest.raises(ConfigError, match="there is no encoding 'utf-9'"):
        Reading(encoding="utf-9")


@pytest.mark.parametrize(
    "mark",
    [
        "ignore_time_segment_in_scoring",
        "IGNORETIMESEGMENTINSCORING",
        "IgnoreTimeSegmentInScoring",
        "x IGNORE_TIME_SEGMENT_IN_SCORING y",
    ],
)
def test_segments_that_are_not_to_be_scored(tmp_path, mark):
    (tmp_path / "r.stm").write_text(f"f 1 a 0 1 <o,,f> a b c\nf 1 inter_segment_gap 2 5 <o,,unknown> {mark}\n")
    (tmp_path / "h.ctm").write_text("f 1 0 .1 a\nf 1 .5 .1 b\nf 1 .6 .1 c\nf 1 3 .1 d\n")
    done = evaluate(tmp_path / "r.stm", {"x": tmp_path / "h.ctm"}, LENIENT).scores["x"]
    assert (done.wer.errors, done.wer.words) == (0, 3)


def test_nists_marks_are_no_words(tmp_path):
    (tmp_path / "r.trn").write_text("a\\;b c;t1;t2 @ d* { e;t / @ } (u-1)\n")
    (tmp_path / "h.trn").write_text("a;b c { x / d } {e;t1 / f} @ (u-1)\n".replace("a;b", "a\\;b"))
    done = evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, LENIENT).scores["x"]
    assert (done.wer.errors, done.wer.words) == (0, 4)
    literally = evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, Options(markup="none", replicates=1))
    assert literally.scores["x"].wer.words == 9


STM = "f A x 0 2 a b\nf A x 2 4 c\n"
# What sclite reads: the changed file, its content, errors, what is said, what a strict reading says.
DEPARTURES = {
    "alternatives": (
        "ctm", "f A 0 1 a\nf A * * <ALT_BEGIN>\nf A 1 .5 x\nf A * * <ALT>\nf A 1 .5 b\nf A * * <ALT_END>\nf A 3 1 c\n",
        0, "3 marks of alternatives understood", "alternatives in a ctm file",
    ),
    "type and speaker": ("ctm", "f A 0 1 a .5 lex s1\nf A 1 .5 b .5 fp s1\nf A 3 1 c .5 lex s1\n", 0,
                         "1 words of type fp, scored as all others are", "8 columns; expected 5 or 6"),
    "no confidence": ("ctm", "f A 0 1 a NA\nf A 1 .5 b NA\nf A 3 1 c NA\n", 0,
                      "3 words without confidence, NA", "the confidence is NA; expected 0 to 1"),
    "channel": ("ctm", "f a 0 1 a\nf a 1 .5 b\nf a 3 1 c\n", 0, "3 words of f a taken for f A", "channel a does not"),
    "no time": ("stm", STM + "f A x 4 4 d\n", 1, "1 segments that last no time", "begins at 4 s and ends at 4 s"),
    "an overlap": ("stm", "f A x 0 2.001 a b\nf A x 2 4 c\n", 0, "1 overlaps of at most 0.05 s", "overlapping speech"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "errors", "note", "fault"), DEPARTURES.values(), ids=DEPARTURES)
def test_two_readings(tmp_path, name, content, errors, note, fault):
    (tmp_path / "r.stm").write_text(STM)
    (tmp_path / "h.ctm").write_text("f A 0 1 a\nf A 1 .5 b\nf A 3 1 c\n")
    (tmp_path / {"stm": "r.stm", "ctm": "h.ctm"}[name]).write_text(content)
    done = evaluate(tmp_path / "r.stm", {"x": tmp_path / "h.ctm"}, LENIENT)
    assert done.scores["x"].wer.errors == errors
    assert any(note in sentence for sentence in done.notes)
    assert any(note in sentence for sentence in done.json["options"]["notes"])
    with pytest.raises(DataError) as raised:
        evaluate(tmp_path / "r.stm", {"x": tmp_path / "h.ctm"}, Options(reading="strict", replicates=1))
    assert fault in str(raised.value)


def test_trn_ids(tmp_path):
    (tmp_path / "r.trn").write_text("a (Spk 1-A)\nb (Spk 1-B)\n\n\n")
    (tmp_path / "h.trn").write_text("a (spk 1-a)\nb (spk 1-b)\n")
    done = evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, LENIENT)
    assert done.scores["x"].wer.errors == 0
    said = " ".join(done.notes)
    for note in ("2 ids with a space in them", "2 blank lines left out", "2 ids in other letters"):
        assert note in said
    with pytest.raises(DataError, match="expected words and then the utterance id"):
        evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, Options(reading="strict"))


def test_letters_do_not_merge_two_ids(tmp_path):
    (tmp_path / "r.trn").write_text("a (u-1)\nb (U-1)\n")
    (tmp_path / "h.trn").write_text("a (u-1)\nb (U-1)\n")
    assert evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, LENIENT).scores["x"].wer.errors == 0
    (tmp_path / "r.trn").write_text("a (u-1)\n")
    with pytest.raises(DataError, match=r"1 utterance \(U-1\) is without a reference"):
        evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, LENIENT)


def test_hypotheses_without_a_reference(tmp_path):
    (tmp_path / "r.trn").write_text("a (u-1)\n")
    (tmp_path / "h.trn").write_text("a (u-1)\nb (u-2)\n")
    with pytest.raises(DataError, match="without a reference"):
        evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, LENIENT)
    done = evaluate(tmp_path / "r.trn", {"x": tmp_path / "h.trn"}, Options(extra="drop", replicates=1))
    assert done.scores["x"].wer.errors == 0
    assert any("1 hypotheses without a reference left out (extra: drop)" in note for note in done.notes)
    (tmp_path / "r.stm").write_text(STM)
    (tmp_path / "h.ctm").write_text("f A 0 1 a\ng A 1 .5 b\n")
    timed = evaluate(tmp_path / "r.stm", {"x": tmp_path / "h.ctm"}, Options(extra="drop", replicates=1))
    assert timed.scores["x"].wer.deletions == 2


def test_names_do_not_collide(tmp_path):
    segments = [
        ("m1", "A-B"),
        ("m1-A", "B"),
        ("m1-A-B", None),
        ("m1", "A%2DB"),
        ("m1-A", None),
        ("m1", "A"),
        ("m1", None),
    ]
    entries = [
        {"session_id": session, "words": f"w{number}"} | ({"speaker": speaker} if speaker else {})
        for number, (session, speaker) in enumerate(segments)
    ]  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps(entries))
    read = read_seglst(tmp_path / "x.json")
    assert sorted(read.texts.values()) == [f"w{number}" for number in range(len(segments))]
    assert {"m1-A%2DB", "m1-A-B", "m1-A-B-", "m1"} <= read.texts.keys()
    (tmp_path / "own.json").write_text(json.dumps([*entries, {"utterance_id": "m1-A", "words": "x"}]))
    with pytest.raises(DataError, match="segment 8: utterance m1-A was already given"):
        read_seglst(tmp_path / "own.json")
    (tmp_path / "x.stm").write_text("a-b c x 0 1.001 a\na b-c x 0 1.001 a\na b-c x 1.001 1.004 a\n")
    ids = [segment.id for segment in read_stm(tmp_path / "x.stm")]
    assert ids == ["a-b-c-0.00-1.001", "a-b%2Dc-0.00-1.001", "a-b%2Dc-1.001-1.004"]


def test_nemo_and_tables(tmp_path):
    lines = [
        {"audio_filepath": "a.wav", "duration": 2.5, "text": "one two", "pred_text": "one"},
        {"audio_filepath": "b.wav", "offset": 1.5, "duration": 1, "text": "three", "pred_text": "three"},
    ]
    (tmp_path / "m.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = evaluate(tmp_path / "m.json", {"x": tmp_path / "m.json"}, LENIENT)
    assert (done.scores["x"].wer.errors, done.durations) == (1, {"a.wav": 2.5, "b.wav@1.5": 1.0})
    (tmp_path / "r.csv").write_text('file,transcript,speaker\na.wav,"one, two",s\nb.wav@1.5,three,t\n')
    (tmp_path / "h.tsv").write_text("id\ttext\tprediction\na.wav\tone, two\tone, two\nb.wav@1.5\tthree\tfour\n")
    table = evaluate(tmp_path / "r.csv", {"x": tmp_path / "h.tsv"}, LENIENT)
    assert (table.scores["x"].wer.errors, table.speakers) == (1, {"a.wav": "s", "b.wav@1.5": "t"})
    assert any("h.tsv: ids of column id, transcripts of column prediction" in note for note in table.notes)


def test_two_ctm_files(tmp_path):
    (tmp_path / "r.ctm").write_text("f A 0 1 a\nf A 1 1 b\nf B 0 1 c\n")
    (tmp_path / "h.ctm").write_text("f A 0 1 a\nf B 0 1 c\n")
    done = evaluate(tmp_path / "r.ctm", {"x": tmp_path / "h.ctm"}, LENIENT).scores["x"]
    assert (done.wer.deletions, done.wer.words, done.utterances.ids) == (1, 3, ("f-A", "f-B"))
    references, _ = read_references(tmp_path / "r.ctm")
    assert references.kind == "ctm"
    with pytest.raises(DataError, match="is a ctm file and needs references by time"):
        read_hypotheses(tmp_path / "h.ctm", None)
