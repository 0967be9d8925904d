"""``python -m seqkd.scoring.kaldi``: its options, and which hypotheses are the best."""

import pytest

from seqkd.errors import DataError
from seqkd.scoring import write_text
from seqkd.scoring.kaldi import main, score_kaldi


@pytest.fixture
def folders(tmp_path):
    write_text(tmp_path / "data" / "text", {"a": "One two", "b": "three"})
    hypotheses(tmp_path, 7, a="one two", b="three")
    hypotheses(tmp_path, 8, a="ONE two", b="four")
    return str(tmp_path / "data"), str(tmp_path / "decode")


def hypotheses(folder, weight, **texts):
    write_text(folder / "decode" / "scoring_kaldi" / "penalty_0.0" / f"{weight}.txt", texts)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--normalise", "lower"], "unrecognized arguments: --normalise lower"),
        (["--norm", "lower"], "unrecognized arguments: --norm lower"),
        (["--missing", "some"], "argument --missing: invalid choice: 'some'"),
        (["--costs"], "argument --costs: expected one argument"),
    ],
)
def test_wrong_options_are_refused(folders, more, said, capsys, tmp_path):
    with pytest.raises(SystemExit) as fault:
        main([*folders, *more])
    assert fault.value.code == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "decode").glob("wer_*"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--costs", "sclite"], "costs are 'sclite'; expected"),
        (["--normalize", "upper"], "there is no normaliser 'upper'"),
    ],
)
def test_wrong_values_are_refused(folders, more, said, capsys):
    assert main([*folders, *more]) == 1
    assert f"seqkd.scoring.kaldi: {said}" in capsys.readouterr().err


def test_options_are_used(folders, capsys, tmp_path):
    assert main([*folders, "--normalize", "lower", "--costs", "4,3,3", "--missing", "present"]) == 0
    said = capsys.readouterr()
    assert said.out.endswith("penalty_0.0/7.txt\n")
    assert said.err.startswith("%WER 0.00 [ 0 / 3,")
    assert main([*folders, "--costs", "fewest"]) == 0
    assert capsys.readouterr().err.startswith("%WER 33.33 [ 1 / 3,")


def test_rates_of_different_utterances_do_not_compare(folders, tmp_path):
    hypotheses(tmp_path, 8, b="three")  # no error at all in the one utterance that is left
    with pytest.raises(DataError, match=r"8.txt and .*7.txt have hypotheses of different utterances"):
        score_kaldi(*folders, missing="present")
    line, best = score_kaldi(*folders, missing="all")
    assert (line[:11], best.name) == ("%WER 33.33 ", "7.txt")


def test_of_equal_rates_the_lowest_weight_is_taken(folders, tmp_path):
    hypotheses(tmp_path, 10, a="One two", b="three")
    hypotheses(tmp_path, 9, a="One two", b="three")
    assert score_kaldi(*folders)[1].name == "9.txt"
