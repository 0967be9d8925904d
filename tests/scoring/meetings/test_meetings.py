"""Meetings against meeteval, against all assignments one by one, and their files."""

import itertools
import json
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest

from seqkd.cli.score import main
from seqkd.errors import ConfigError, DataError
from seqkd.scoring import count
from seqkd.scoring.meetings import MEASURES, Turn, meeting_rate, read_turns
from seqkd.scoring.meetings.assignment import cheapest
from seqkd.scoring.meetings.report import score_meeting_files
from tests.scoring.meetings.made import meeting

# Errors by meeteval 0.4.3 of the meetings of the seeds 0, 1, ...; the references are sorted by segment.
EXPECTED = json.loads(Path(__file__).with_name("meeteval.json").read_text())


def texts(*said: str, speaker: str = "s") -> list[Turn]:
    """A turn a speaker, without times."""
    return [Turn("m", f"{speaker}{number}", tuple(text.split())) for number, text in enumerate(said)]


@pytest.mark.parametrize("seed", range(len(EXPECTED)))
def test_errors_are_those_of_meeteval(seed):
    references, hypotheses, collar = meeting(seed)
    found = {
        measure: meeting_rate(references, hypotheses, measure, collar=collar).total("errors") for measure in MEASURES
    }
    assert found == EXPECTED[seed]


def test_against_meeteval_itself():
    wer = pytest.importorskip("meeteval.wer.wer")
    io = pytest.importorskip("meeteval.io")
    for seed in range(1000, 1040):
        references, hypotheses, collar = meeting(seed)
        sides = [
            io.SegLST(
                [
                    {"session_id": "m", "speaker": t.speaker, "words": " ".join(t.words), "start_time": t.begin,
                     "end_time": t.end}
                    for t in turns
                ]
            )
            for turns in (references, hypotheses)
        ]  # fmt: skip
        theirs = {
            "cp": wer.cp.cp_word_error_rate(*sides),
            "tcp": wer.time_constrained.tcp_word_error_rate(*sides, collar=collar),
            "orc": wer.orc.orc_word_error_rate(*sides),
            "tcorc": wer.time_constrained_orc.time_constrained_orc_wer(*sides, collar=collar),
        }
        for measure, one in theirs.items():
            ours = meeting_rate(references, hypotheses, measure, collar=collar)
            assert (ours.total("errors"), ours.total("words")) == (one.errors, one.length)


@pytest.mark.parametrize(
    ("references", "hypotheses", "counts"),
    [  # examples of meeteval's documentation: errors, missed speakers, too many
        (["a b c", "d e f"], ["a b c", "d e f"], (0, 0, 0)),
        (["a b", "c d"], ["a b", "c d", "e f"], (2, 0, 1)),
        (["a", "b", "c d"], ["a", "b"], (2, 1, 0)),
        (["a", "b", "c"], ["b", "c", "d", "a"], (1, 0, 1)),
        (["a b"], ["z", "a e f"], (3, 0, 1)),
        (["a b", "k"], ["", "a e f"], (3, 0, 0)),
    ],
)
def test_cp_examples(references, hypotheses, counts):
    found = meeting_rate(texts(*references), texts(*hypotheses, speaker="h"), "cp")
    assert tuple(found.total(name) for name in ("errors", "missed_speakers", "extra_speakers")) == counts


@pytest.mark.parametrize(
    ("references", "hypotheses", "errors"),
    [
        (["a b", "c d", "e f"], ["a b c d e f"], 0),
        (["a b", "c d", "e f"], ["a b", "c d e f"], 0),
        (["a", "c d", "e"], ["a c", "d e"], 2),
    ],
)
def test_orc_examples(references, hypotheses, errors):
    assert meeting_rate(texts(*references), texts(*hypotheses, speaker="h"), "orc").total("errors") == errors


def test_orc_against_all_assignments():
    source = random.Random(1)
    for _ in range(40):
        said = [" ".join(source.choices("abc", k=source.randint(0, 3))) for _ in range(source.randint(1, 4))]
        heard = [" ".join(source.choices("abc", k=source.randint(0, 5))) for _ in range(source.randint(1, 3))]
        if not any(said):
            continue
        found = meeting_rate(texts(*said), texts(*heard, speaker="h"), "orc").sessions["m"]

        def of(assignment, said=said, heard=heard):
            joined = [
                " ".join(said[i] for i, k in enumerate(assignment) if k == stream) for stream in range(len(heard))
            ]
            words = count(joined, heard, characters=False).words
            return int(words.errors.sum()), int(words.substitutions.sum())

        assert (found.errors, found.substitutions) == min(
            of(assignment) for assignment in itertools.product(range(len(heard)), repeat=len(said))
        )
        chosen = [int(stream.removeprefix("h")) for _, stream in found.assignment]
        assert of(chosen) == (found.errors, found.substitutions)


def test_the_cheapest_assignment():
    generator = np.random.default_rng(2)
    for size in range(6):
        costs = generator.integers(0, 9, size=(size, size))
        columns = cheapest(costs)
        assert sorted(columns) == list(range(size))
        best = min(sum(costs[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(size)))
        assert sum(costs[i, j] for i, j in enumerate(columns)) == best


def test_words_far_apart_are_not_aligned():
    references = [Turn("m", "a", ("x", "y"), 0.0, 2.0)]
    late = [Turn("m", "h", ("x", "y"), 10.0, 12.0)]
    assert meeting_rate(references, late, "tcp", collar=5).total("errors") == 4
    assert meeting_rate(references, late, "tcp", collar=9).total("errors") == 3  # x may replace y
    assert meeting_rate(references, late, "tcp", collar=12).total("errors") == 0
    assert meeting_rate(references, late, "cp").total("errors") == 0


STM = """;; a comment
m 1 alice 0 2 <o,f0> hello there
m 1 bob 1.5 3 good morning
m 1 alice 3 4 how are you
"""
HYP = [
    {"session_id": "m", "speaker": "1", "words": "hello there how were you", "start_time": 0, "end_time": 4},
    {"session_id": "m", "speaker": "2", "words": "Good morning", "start_time": 1.5, "end_time": 3},
]


def test_overlapping_speech_of_an_stm_file(tmp_path, capsys):
    (tmp_path / "ref.stm").write_text(STM)
    (tmp_path / "hyp.json").write_text(json.dumps(HYP))
    arguments = ["--ref", str(tmp_path / "ref.stm"), "--hyp", f"x={tmp_path / 'hyp.json'}", "--normalize", "lower"]
    for measure in MEASURES:
        assert main([*arguments, "--meeting", measure, "--json", str(tmp_path / "out.json")]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert printed[2].split()[:4] == ["x", "14.29", "1", "7"]
        written = json.loads((tmp_path / "out.json").read_text())
        assert written["systems"]["x"]["substitutions"] == 1
        assert written["collar"] == (5.0 if measure.startswith("tc") else None)
    assert main([*arguments[:4], "--meeting", "cp"]) == 0
    assert "28.57" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("m 1 a 0", "line 1: expected file, channel, speaker, begin, end and words"),
        ("m 1 a 2 1 x", "line 1: the times are '2' to '1'; expected seconds, the end not before the begin"),
        ("m 1 a 0 1 IGNORE_TIME_SEGMENT_IN_SCORING", "line 1: segments that are not to be scored are not understood"),
        (
            "m 1 a 0 1 so {um/uh} fine",
            "line 1: alternatives, as in { a / b }, are not understood in meetings; leave one",
        ),
        ("m 1 a 0 1 fine }", "line 1: alternatives, as in { a / b }, are not understood in meetings"),
        ("", "holds no segments"),
    ],
)
def test_faults_of_stm(text, sentence, tmp_path):
    (tmp_path / "x.stm").write_text(text)
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_turns(tmp_path / "x.stm")


def test_nists_marks_are_no_words_of_a_meeting(tmp_path):
    (tmp_path / "ref.stm").write_text("m 1 a 0 2 um so (hm) word;tag fine*\nm 1 b 2 3 yes @ { @ } a\\;b\n")
    (tmp_path / "hyp.stm").write_text("m 1 1 0 2 um so word fine @\nm 1 2 2 3 yes a\\;b;tag\n")
    assert [turn.words for turn in read_turns(tmp_path / "ref.stm")] == [
        ("um", "so", "(hm)", "word", "fine"),
        ("yes", "a;b"),
    ]
    systems = {"x": tmp_path / "hyp.stm"}
    said = score_meeting_files(tmp_path / "ref.stm", systems, "cp", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["systems"]["x"]["errors"] == 1
    assert "ref.stm: 1 words in parentheses, as in (hm), which are never left out in meetings" in said
    # SegLST has no marks: there all is words, as without --meeting.
    segments = [{"session_id": "m", "speaker": "a", "words": "{ a / @ }"}]
    (tmp_path / "ref.json").write_text(json.dumps(segments))
    assert read_turns(tmp_path / "ref.json")[0].words == ("{", "a", "/", "@", "}")


def test_many_turns_take_no_quadratic_time():
    turns = [Turn(f"m{number}", "a", ("x",)) for number in range(20_000)]
    begin = time.process_time()
    assert meeting_rate(turns, turns).total("errors") == 0
    assert time.process_time() - begin < 10  # nearly a minute where every turn looks at every session


def test_faults():
    one = [Turn("m", "a", ("x",))]
    with pytest.raises(DataError, match="A segment of a in session m has no times"):
        meeting_rate(one, one, "tcp")
    with pytest.raises(DataError, match="Session n of the hypotheses has no reference"):
        meeting_rate(one, [Turn("n", "a", ("x",))])
    with pytest.raises(DataError, match="The references hold no words"):
        meeting_rate([Turn("m", "a", ())], one)
    with pytest.raises(ConfigError, match="measure"):
        meeting_rate(one, one, "wer")
    with pytest.raises(ConfigError, match="the collar is -1"):
        meeting_rate(one, one, "tcp", collar=-1)
    with pytest.raises(DataError, match="streams of 40000 x 40000 words are too long"):
        meeting_rate(one, [Turn("m", k, ("x",) * 40_000) for k in "ab"], "orc")
    assert meeting_rate([*one, Turn("n", "a", ("y", "z"))], one).total("deletions") == 2
    for measure in MEASURES[::2]:
        assert meeting_rate([*one, Turn("n", "a", ("y", "z"))], one, measure).rate == 2 / 3
