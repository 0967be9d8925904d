from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.data.tokens import Tokenizer, train_tokenizer
from seqkd.errors import ConfigError
from seqkd.teachers.external.vocabulary import FLOOR, CannotMap, Vocabulary, VocabularyMap, fold

LABELS = ("<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C", "'", "4")
TEACHER = Vocabulary.of(LABELS, 0, "|")


def characters(*texts: str, **settings: str) -> Tokenizer:
    return train_tokenizer(texts, type="char", vocab_size=0, **settings)


STUDENT = characters("ab cab", "d")  # no c apostrophe, no digits, a letter that the teacher lacks


def unit(piece: str, tokenizer: Tokenizer = STUDENT) -> int:
    return tokenizer.units.index(piece)


def test_every_unit_has_its_row() -> None:
    rows = VocabularyMap.of(TEACHER, STUDENT).rows
    assert [(row.label, row.student, row.why) for row in rows] == [
        ("<pad>", 0, "blank"),
        ("<s>", 0, "special, counts as blank"),
        ("</s>", 0, "special, counts as blank"),
        ("<unk>", 1, "unknown"),
        ("|", unit("▁"), "word boundary"),
        ("A", unit("a"), "same but for case"),
        ("B", unit("b"), "same but for case"),
        ("C", unit("c"), "same but for case"),
        ("'", 1, "the student lacks it: unknown"),
        ("4", 1, "the student lacks it: unknown"),
    ]


def test_the_table_is_readable() -> None:
    table = VocabularyMap.of(TEACHER, STUDENT, "base").table()
    assert table == "\n".join(
        [
            "teacher's unit  student's unit  why",
            "0 '<pad>'       0 '<blank>'     blank",
            "1 '<s>'         0 '<blank>'     special, counts as blank",
            "2 '</s>'        0 '<blank>'     special, counts as blank",
            "3 '<unk>'       1 '<unk>'       unknown",
            f"4 '|'           {unit('▁')} '▁'           word boundary",
            f"5 'A'           {unit('a')} 'a'           same but for case",
            f"6 'B'           {unit('b')} 'b'           same but for case",
            f"7 'C'           {unit('c')} 'c'           same but for case",
            "8 \"'\"           1 '<unk>'       the student lacks it: unknown",
            "9 '4'           1 '<unk>'       the student lacks it: unknown",
            "no unit of the teacher becomes 'd': probability 1e-13",
            "the student has a word boundary before the first word, and base usually only between words; "
            "tokens.word_boundary=between gives both the same",
        ]
    )


def test_a_student_with_boundaries_between_words_needs_no_note() -> None:
    assert VocabularyMap.of(TEACHER, characters("ab cab", word_boundary="between")).notes == ()
    pieces = Vocabulary.of(["<blank>", "▁a", "b", "▁"], 0, "▁")
    with pytest.raises(CannotMap):
        VocabularyMap.of(pieces, STUDENT)


def test_probabilities_of_units_that_become_one_are_added() -> None:
    # blank .2, <s> .05, </s> .05, <unk> .1, | .1, A .2, B .1, C .1, ' .06, 4 .04
    probs = torch.tensor([[0.2, 0.05, 0.05, 0.1, 0.1, 0.2, 0.1, 0.1, 0.06, 0.04]])
    mapped = VocabularyMap.of(TEACHER, STUDENT).apply(probs.log()).exp()[0]
    expected = {0: 0.3, 1: 0.2, unit("▁"): 0.1, unit("a"): 0.2, unit("b"): 0.1, unit("c"): 0.1, unit("d"): 0.0}
    assert mapped.tolist() == pytest.approx([expected[i] for i in range(len(STUDENT))], abs=1e-7)


def test_what_no_unit_becomes_is_at_the_floor() -> None:
    mapped = VocabularyMap.of(TEACHER, STUDENT).apply(torch.full((3, 10), 0.1).log())
    assert mapped[:, unit("d")].tolist() == [FLOOR] * 3
    spike = torch.full((1, 10), -torch.inf)
    spike[0, 5] = 0.0
    mapped = VocabularyMap.of(TEACHER, STUDENT).apply(spike)
    assert mapped[0, unit("a")] == 0
    assert mapped.isfinite().all()
    assert (mapped[0] == FLOOR).sum() == len(STUDENT) - 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.floats(0.1, 20.0))
def test_no_mass_is_lost(seed: int, scale: float) -> None:
    logits = scale * torch.randn(4, len(TEACHER), generator=torch.Generator().manual_seed(seed))
    found = VocabularyMap.of(TEACHER, STUDENT)
    mapped = found.apply(logits.log_softmax(-1)).double().exp()
    assert torch.allclose(mapped.sum(-1), torch.ones(4, dtype=torch.float64), atol=1e-6)
    probs = logits.double().softmax(-1)
    for t in range(4):
        for d in range(len(STUDENT)):
            expected = sum(float(probs[t, row.unit]) for row in found.rows if row.student == d)
            assert float(mapped[t, d]) == pytest.approx(expected, rel=1e-4, abs=1e-12)


def test_case_goes_both_ways_and_exact_matches_come_first() -> None:
    upper = characters("AB CAB")
    lower = Vocabulary.of(("<pad>", "|", "a", "b", "c"), 0, "|")
    assert [row.why for row in VocabularyMap.of(lower, upper).rows[2:]] == ["same but for case"] * 3
    both = Vocabulary.of(("<pad>", "|", "a", "A", "b", "B", "c", "C"), 0, "|")
    rows = VocabularyMap.of(both, upper).rows
    assert [row.piece for row in rows[2:]] == ["A", "A", "B", "B", "C", "C"]
    assert [row.why for row in rows[2:4]] == ["same but for case", "same"]


def test_a_boundary_that_the_student_lacks_is_blank() -> None:
    alone = characters("a", "b", "c", word_boundary="between")
    assert "▁" not in alone.units
    row = VocabularyMap.of(TEACHER, alone).rows[4]
    assert (row.student, row.why) == (0, "word boundary, which the student lacks: counts as blank")


def test_identical_pieces_map_to_themselves() -> None:
    student = train_tokenizer(["the cat sat", "the hat that sat"], type="bpe", vocab_size=20)
    order = list(reversed(range(len(student))))  # the teacher counts the other way
    teacher = Vocabulary.of([student.units[i] for i in order], order.index(0), "▁")
    found = VocabularyMap.of(teacher, student)
    assert [row.student for row in found.rows] == order
    assert found.unreached == found.notes == ()
    log_probs = torch.randn(5, len(student), generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    assert torch.allclose(found.apply(log_probs), log_probs[:, order], atol=1e-5)


REMEDY = "its frames cannot teach this student, but its N best transcripts can (sequence-level distillation)"


def test_pieces_of_words_cannot_teach_characters() -> None:
    teacher = Vocabulary.of(("<blank>", "<unk>", "▁the", "▁ca", "t", "ing"), 0, "▁")
    with pytest.raises(CannotMap) as caught:
        VocabularyMap.of(teacher, STUDENT, "conformer")
    assert str(caught.value) == (
        f"conformer has 3 units ('▁the', '▁ca', 'ing') of several characters that the student lacks: {REMEDY}"
    )
    assert isinstance(caught.value, ConfigError)


def test_characters_cannot_teach_pieces_of_words() -> None:
    student = train_tokenizer(["ab cab", "ab"], type="word", vocab_size=0)
    with pytest.raises(CannotMap) as caught:
        VocabularyMap.of(TEACHER, student, "base")
    assert (
        str(caught.value) == f"the student has 2 units ('▁ab', '▁cab') of several characters that base lacks: {REMEDY}"
    )


def test_another_alphabet() -> None:
    with pytest.raises(CannotMap) as caught:
        VocabularyMap.of(TEACHER, characters("да нет a"), "base")
    assert str(caught.value).startswith("base lacks 5 of the student's 6 letters (")
    assert str(caught.value).endswith(f"): {REMEDY}")


def test_text() -> None:
    spell = lambda text: [LABELS.index(label) for label in text]  # noqa: E731
    assert TEACHER.text(spell("AB|CAB|")) == "AB CAB"
    assert TEACHER.text([1, *spell("|A|"), 3, *spell("|B"), 2]) == "A B"
    assert TEACHER.text([]) == ""
    pieces = Vocabulary.of(("<blank>", "▁the", "▁", "ca", "t"), 0, "▁")
    assert pieces.text([1, 2, 3, 4]) == "the cat"
    assert Vocabulary.of(("<blank>", "你", "好"), 0).text([1, 2]) == "你好"


def test_specials_are_found_by_form_or_by_name() -> None:
    assert (TEACHER.unknown, TEACHER.specials) == (3, {1, 2})
    named = Vocabulary.of(("a", "[PAD]", "[UNK]", "eos", "?", " "), 1, " ", specials=["eos"], unknown="?")
    assert (named.unknown, named.specials) == (2, {3})
    assert Vocabulary.of(("-", "|", "a"), 0, "|").specials == frozenset()


@pytest.mark.parametrize(
    ("labels", "blank", "boundary", "message"),
    [
        (("a",), 0, None, "it has labels 'a'; expected a list of at least 2 texts, one a class"),
        (None, 0, None, "it has labels None; expected a list of at least 2 texts, one a class"),
        (("a", 7), 0, None, "it has labels 'a', 7; expected a list of at least 2 texts, one a class"),
        (("a", "b"), None, None, "it has the blank None; expected a class from 0 to 1"),
        (("a", "b"), 2, None, "it has the blank 2; expected a class from 0 to 1"),
        (("a", "b"), "a", None, "it has the blank 'a'; expected a class from 0 to 1"),
        (
            ("a", "b"),
            0,
            "|",
            "it has the word boundary '|', which none of its labels is or begins with; name the label that stands "
            "between words, or null if there is none",
        ),
    ],
)
def test_vocabularies_that_cannot_be(labels: object, blank: object, boundary: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Vocabulary.of(labels, blank, boundary, where="it")
    assert str(caught.value) == message


def test_a_posterior_of_another_size() -> None:
    with pytest.raises(ConfigError) as caught:
        VocabularyMap.of(TEACHER, STUDENT).apply(torch.zeros(3, 9))
    assert str(caught.value) == "a posterior of shape (3, 9) does not fit 10 labels"


def test_fold() -> None:
    assert fold("Ab C", characters("ab c")) == "ab c"
    assert fold("Ab C", characters("AB C")) == "AB C"
    assert fold("Ab C", characters("Ab C")) == "Ab C"
    assert fold("Ab C", characters("12 3")) == "Ab C"
