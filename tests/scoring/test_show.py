"""Aligned columns in a terminal."""

import pytest

from seqkd.scoring import count
from seqkd.scoring.show import align_text, aligned_columns, width


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("", 0), ("漢字", 4), ("e\u0301", 1), ("ｱ", 1), ("Ａ", 2), ("שָׁלוֹם", 4), ("a\u200bb", 2), ("한국", 4)],
)
def test_width(text, columns):
    assert width(text) == columns


def test_columns_line_up():
    lines = align_text([("a", "abc", "S"), ("*", "x", "I"), ("東京", "*", "D"), ("z", "z", "")]).splitlines()
    assert lines == [
        "REF  a   * 東京 z",
        "HYP  abc x *    z",
        "     S   I D",
    ]


def test_right_to_left_words_stay_in_their_columns():
    lines = align_text([("שלום", "שלומ", "S"), ("عليكم", "*", "D"), ("end", "end", "")]).splitlines()
    assert lines[0] == "REF  \u2068שלום\u2069 \u2068عليكم\u2069 end"
    assert lines[1] == "HYP  \u2068שלומ\u2069 *     end"
    assert lines[2] == "     S    D"


def test_every_utterance():
    utterances = count(
        {"u1": "a b c", "u2": "", "u3": "well (uh) yes"}, {"u1": "a x", "u2": "", "u3": "well yes"}, markup="all"
    )
    one, two, three = aligned_columns(utterances)
    assert one == "u1  (S 1, D 1, I 0 of 3 words)\nREF  a b c\nHYP  a x *\n       S D" or one.endswith("       D S")
    assert two == "u2  (S 0, D 0, I 0 of 0 words)\nREF\nHYP\n"
    assert three.splitlines()[-1] == "          O"
