"""Malformed input of every kind: one sentence, status 1, and nothing written."""

import pytest

from seqkd.cli.main import main

REF = "a1 one two\nb1 three\n"
HYP = "a1 one two\nb1 three\n"
STM = "f A x 0 2 a b\nf A x 2 4 c\n"
CTM = "f A 0 1 a 0.5\n"

# Files by name, the command line, and what is said.
CASES = {
    "no such file": ({}, "--ref nowhere --hyp s=hyp", "nowhere: no such file."),
    "a directory": ({"dir/x": ""}, "--ref dir --hyp s=hyp", "dir is a directory; expected a file of transcripts."),
    "not UTF-8": ({"hyp": b"a1 one two\nb1 \xff\n"}, "", "hyp, line 2: the text is not UTF-8."),
    "nothing in it": (
        {"hyp": ""},
        "",
        "hyp holds no transcripts; expected on each line an utterance id and its words.",
    ),
    "id given twice": ({"hyp": "a1 x\na1 y\n"}, "", "hyp, line 2: utterance a1 was already given in line 1."),
    "blank line": (
        {"ref": "a1 one\n\nb1 two\n"},
        "--ref ref --hyp s=hyp --reading strict",
        "ref, line 2: the line is blank; expected an utterance id and its words. It is read with --reading lenient.",
    ),
    "extra utterance": (
        {"hyp": HYP + "c1 four\n"},
        "",
        "hyp against ref: 1 utterance (c1) is without a reference.",
    ),
    "missing utterance": (
        {"hyp": "a1 one\n"},
        "",
        "hyp against ref: 1 utterance (b1) is without a hypothesis; decode them, score them as empty "
        "(missing: all) or leave them out (missing: present).",
    ),
    "no words": (
        {"ref": "a1\nb1\n"},
        "",
        "hyp against ref: The references hold no words, so there is no error rate.",
    ),
    "trn without an id": (
        {"hyp.trn": "one two (a1)\nthree\n"},
        "--ref ref --hyp s=hyp.trn",
        "hyp.trn, line 2: found 'three'; expected words and then the utterance id in parentheses.",
    ),
    "trn with an empty id": (
        {"hyp.trn": "one ( )\n"},
        "--ref ref --hyp s=hyp.trn",
        "hyp.trn, line 1: found 'one ( )'; expected words and then the utterance id in parentheses.",
    ),
    "alternatives that do not end": (
        {"ref.trn": "one {two (a1)\nthree (b1)\n"},
        "--ref ref.trn --hyp s=hyp",
        "hyp against ref.trn: Reference a1: '{' without '}' after it, at '{ two'.",
    ),
    "JSONL that is none": (
        {"hyp.jsonl": '{"id": "a1", "text": "x"}\n{"id": \n'},
        "--ref ref --hyp s=hyp.jsonl",
        "hyp.jsonl, line 2: not JSON (Expecting value).",
    ),
    "JSONL with an empty id": (
        {"hyp.jsonl": '{"id": "", "text": "x"}\n'},
        "--ref ref --hyp s=hyp.jsonl",
        "hyp.jsonl, line 1: id is ''; expected text that is not empty.",
    ),
    "JSONL without text": (
        {"hyp.jsonl": '{"id": "a1", "txt": "x"}\n'},
        "--ref ref --hyp s=hyp.jsonl",
        "hyp.jsonl, line 1: text is None; expected text.",
    ),
    "JSONL with too few confidences": (
        {"hyp.jsonl": '{"id": "a1", "text": "one two", "confidences": [0.5]}\n'},
        "--ref ref --hyp s=hyp.jsonl",
        "hyp.jsonl, line 1: confidences must be a number from 0 to 1 for each word of text.",
    ),
    "SegLST that is none": (
        {"hyp.json": '{"words": "x"}'},
        "--ref ref --hyp s=hyp.json",
        "hyp.json: expected SegLST, a list of objects with session_id and words.",
    ),
    "SegLST without words": (
        {"hyp.json": '[{"session_id": "a"}]'},
        "--ref ref --hyp s=hyp.json",
        "hyp.json, segment 1: words is None; expected text.",
    ),
    "SegLST with half a time": (
        {"hyp.json": '[{"session_id": "a", "words": "x", "start_time": "soon"}]'},
        "--ref ref --hyp s=hyp.json",
        "hyp.json, segment 1: start_time is 'soon'; expected seconds.",
    ),
    "ctm without stm": (
        {"hyp.ctm": CTM},
        "--ref ref --hyp s=hyp.ctm",
        "hyp.ctm is a ctm file and needs references by time (*.stm).",
    ),
    "stm without ctm": (
        {"ref.stm": STM},
        "--ref ref.stm --hyp s=hyp",
        "hyp: references by time (*.stm) need hypotheses by time (*.ctm).",
    ),
    "stm with an end before its beginning": (
        {"ref.stm": "f A x 2 1 a\n", "hyp.ctm": CTM},
        "--ref ref.stm --hyp s=hyp.ctm",
        "ref.stm, line 1: the segment begins at 2 s and ends at 1 s.",
    ),
    "stm with overlapping segments": (
        {"ref.stm": "f A x 0 2 a\nf A y 1 3 b\n", "hyp.ctm": CTM},
        "--ref ref.stm --hyp s=hyp.ctm",
        "ref.stm, line 2: the segment begins before the one of line 1 ends; overlapping speech of one channel "
        "cannot be scored by time: it needs the measures for meetings.",
    ),
    "ctm of an unknown file": (
        {"ref.stm": STM, "hyp.ctm": "g A 0 1 a\n"},
        "--ref ref.stm --hyp s=hyp.ctm",
        "hyp.ctm, line 1: file g, channel A does not occur in the references.",
    ),
    "ctm with too few columns": (
        {"ref.stm": STM, "hyp.ctm": "f A 0 a\n"},
        "--ref ref.stm --hyp s=hyp.ctm",
        "hyp.ctm, line 1: expected file, channel, begin, duration, word and confidence.",
    ),
    "ctm with a confidence above 1": (
        {"ref.stm": STM, "hyp.ctm": "f A 0 1 a 1.5\n"},
        "--ref ref.stm --hyp s=hyp.ctm",
        "hyp.ctm, line 1: the confidence is 1.5; expected 0 to 1.",
    ),
    "speakers of some": (
        {"utt2spk": "a1 x\n"},
        "--ref ref --hyp s=hyp --utt2spk utt2spk",
        "utt2spk has no speaker for utterance b1 of ref.",
    ),
    "speakers in three columns": (
        {"utt2spk": "a1 x y\n"},
        "--ref ref --hyp s=hyp --utt2spk utt2spk",
        "utt2spk, line 1: found 'a1 x y'; expected an utterance id and its speaker.",
    ),
    "speakers that ids do not name": (
        {},
        "--ref ref --hyp s=hyp --utt2spk prefix",
        "ref: utterance a1 holds neither - nor _, before which its speaker would be.",
    ),
    "durations that are none": (
        {"utt2dur": "a1 1\nb1 long\n"},
        "--ref ref --hyp s=hyp --utt2dur utt2dur",
        "utt2dur: the duration of utterance b1 is 'long'; expected seconds.",
    ),
    "n-best lists without ranks": (
        {"nbest": "a1 one\n"},
        "--ref ref --hyp s=hyp --nbest s=nbest",
        "nbest: id a1 of an n-best list does not end in its rank, as in a1-1.",
    ),
    "n-best lists of nobody": (
        {"nbest": "a1-1 one\n"},
        "--ref ref --hyp s=hyp --nbest t=nbest",
        "--nbest t is none of the systems; known: s",
    ),
    "no sentencepiece model": (
        {"model": "nonsense"},
        "--ref ref --hyp s=hyp --tokens model",
        "model is not a sentencepiece model.",
    ),
    "costs": (
        {},
        "--ref ref --hyp s=hyp --costs 4;3;3",
        "costs are '4;3;3'; expected those of a substitution, a deletion and an insertion, whole numbers from 1 to "
        "16384, as in 4,3,3 (sclite's)",
    ),
    "an unnamed system": ({}, "--ref ref --hyp =hyp", "--hyp '=hyp': expected NAME=FILE"),
    "a system twice": (
        {},
        "--ref ref --hyp s=hyp --hyp s=hyp",
        "--hyp s is given twice; give every one its own name",
    ),
    "different utterances": (
        {"short": "a1 one two\n"},
        "--ref ref --hyp s=hyp --hyp t=short --missing present",
        "s and t were scored on different utterances and cannot be compared; use missing: all.",
    ),
    "no replicates": ({}, "--ref ref --hyp s=hyp --replicates 0", "the bootstrap needs at least 1 replicate"),
}


@pytest.mark.parametrize(("files", "command", "says"), CASES.values(), ids=CASES)
def test_one_sentence(files, command, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in ({"ref": REF, "hyp": HYP} | files).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = (command or "--ref ref --hyp s=hyp").split()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    outputs = ["--json", "out.json", "--html", "out.html", "--align", "out.txt"]
    assert main(["score", *arguments, *outputs]) == 1
    said = capsys.readouterr()
    assert said.err == f"seqkd score: {says}\n"
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_there_are_enough():
    assert len({says for *_, says in CASES.values()}) >= 35
