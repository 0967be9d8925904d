"""Which confidence is of which word that was scored: after normalising, words may be fewer, more or others."""

import json

import pytest

from seqkd.scoring.evaluate import Options, evaluate


def scored(folder, reference, hypotheses, **options):
    """Evaluate hypotheses, each a text and its words' confidences, against one reference."""
    lines = [
        {"id": f"u-{number}", "text": text, "confidences": confidences}
        for number, (text, confidences) in enumerate(hypotheses)
    ]
    (folder / "ref").write_text("".join(f"{line['id']} {reference}\n" for line in lines))
    (folder / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return evaluate(folder / "ref", {"x": folder / "x.jsonl"}, Options(replicates=1, **options))


def calibration(done):
    return done.json["systems"]["x"].get("calibration")


def test_a_confidence_is_not_given_to_another_word(tmp_path):
    shifted = "uh i won't go", [0.1, 0.9, 0.8, 0.7]  # four words as they are, and four normalised ones: i will not go
    done = scored(tmp_path, "i won't go", [shifted], normalize="english")
    assert calibration(done) is None
    assert any(note.startswith("x: 1 of 1 utterances are left out of the calibration") for note in done.notes)
    plain = "i will not go", [0.9, 0.9, 0.9, 0.7]
    both = calibration(scored(tmp_path, "i won't go", [shifted, plain], normalize="english"))
    assert (both["count"], both["left_out"], both["confidence"]) == (4, 1, pytest.approx(0.85))


def test_a_word_that_vanishes_takes_its_confidence_with_it(tmp_path):
    done = scored(tmp_path, "I go.", [("Uh, i go!", [0.1, 0.9, 0.7])], normalize="english")
    assert (calibration(done)["count"], calibration(done)["confidence"]) == (2, pytest.approx(0.8))
    assert calibration(done)["accuracy"] == 1
    assert not any("left out of the calibration" in note for note in done.notes)


@pytest.mark.parametrize(
    ("text", "steps", "count"),
    [
        ("gru\u0308n ja", "", 2),  # in NFD, as jsonl may hold it
        ("twenty one", "numbers", 0),  # two words become one
        ("twenty uh one one", "no-fillers,numbers", 0),
        ("Ja. NEIN", "lower,no-punctuation", 2),
        ("a-b c", "no-punctuation", 0),  # one becomes two
        ("我们", "characters", 0),
        ("i don't", "whisper-en", 0),
    ],
)
def test_one_word_of_one_word(tmp_path, text, steps, count):
    if steps == "whisper-en":
        pytest.importorskip("whisper_normalizer")
    words = len(text.split())
    done = calibration(scored(tmp_path, "some reference", [(text, [0.5] * words)], normalize=steps))
    assert (done or {"count": 0})["count"] == count


def test_mapped_words(tmp_path):
    (tmp_path / "glm").write_text(
        "* format = 'NIST1'\n[cuz] => [because] / [ ] __ [ ]\n[gonna] => [going to] / [ ] __ [ ]\n"
    )
    options = {"glm": tmp_path / "glm"}
    assert calibration(scored(tmp_path, "because", [("cuz yes", [0.5, 0.6])], **options))["count"] == 2
    assert calibration(scored(tmp_path, "going to", [("gonna", [0.5])], **options)) is None


def test_words_of_a_ctm_file(tmp_path):
    (tmp_path / "r.stm").write_text("f A x 0 4 a b c\n")
    (tmp_path / "h.ctm").write_text("f A 0 1 a .9\nf A 1 1 @ .1\nf A 2 1 b;tag .8\nf A 3 1 c .7\n")
    done = evaluate(tmp_path / "r.stm", {"x": tmp_path / "h.ctm"}, Options(replicates=1))
    assert (calibration(done)["count"], calibration(done)["confidence"]) == (3, pytest.approx(0.8))
