"""A penalty of the blank makes for more units, whichever the search, and is chosen on dev."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from seqkd.decoding import blank_penalty, greedy_decode, prefix_beam_search
from seqkd.decoding.blank_penalty import PENALTIES, penalty_of
from seqkd.decoding.lexicon import Lexicon
from seqkd.decoding.run import decode_run
from seqkd.decoding.settings import DecodeSettings
from seqkd.decoding.word_beam import WordSearch, word_beam_search
from seqkd.errors import ConfigError
from tests.decoding.test_language_model import tokenizer_of
from tests.runs import settings

LOGITS = torch.tensor([[[2.0, 1.5, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0]]])  # blank before 1, blank, 2
LENGTHS = torch.tensor([3])


@pytest.mark.parametrize("shift", [0.0, 7.0])  # of all classes: logits have no zero
def test_greedy_takes_what_lies_within_the_penalty(shift: float) -> None:
    for penalty, tokens in ((0.0, [2]), (0.4, [2]), (0.6, [1, 2]), (-4.0, [])):
        assert greedy_decode(LOGITS + shift, LENGTHS, blank_penalty=penalty) == [tokens]


def test_another_blank_is_penalised() -> None:
    assert greedy_decode(LOGITS.flip(-1), LENGTHS, blank=2, blank_penalty=0.6) == [[1, 0]]


def test_logits_are_left_as_they_were() -> None:
    before = LOGITS.clone()
    greedy_decode(LOGITS, LENGTHS, blank_penalty=1.0)
    assert LOGITS.equal(before)


def test_beam_search_is_that_of_shifted_logits() -> None:
    shifted = LOGITS - torch.tensor([0.7, 0.0, 0.0])
    expected = prefix_beam_search(shifted.double(), LENGTHS)
    found = prefix_beam_search(LOGITS, LENGTHS, blank_penalty=0.7)
    assert [one.tokens for one in found[0]] == [one.tokens for one in expected[0]]
    assert found[0][0].score == pytest.approx(expected[0][0].score, abs=1e-6)
    assert found[0][0].score != pytest.approx(prefix_beam_search(LOGITS, LENGTHS)[0][0].score, abs=1e-3)


def test_word_search_is_that_of_shifted_logits() -> None:
    tokenizer = tokenizer_of("char")
    search = WordSearch(Lexicon(["ab", "ba", "a"], tokenizer), beam_size=8)
    logits = torch.randn(2, 6, len(tokenizer), generator=torch.Generator().manual_seed(0)).double()
    shifted = logits.clone()
    shifted[..., 0] -= 1.5
    lengths = torch.tensor([6, 4])
    assert word_beam_search(logits, lengths, search, blank_penalty=1.5) == word_beam_search(shifted, lengths, search)
    assert word_beam_search(logits, lengths, search) != word_beam_search(shifted, lengths, search)


@pytest.mark.parametrize("penalty", [float("nan"), float("inf")])
def test_a_penalty_is_finite(penalty: float) -> None:
    for search in (greedy_decode, prefix_beam_search):
        with pytest.raises(ConfigError, match=f"blank_penalty is {penalty}; expected a finite number"):
            search(LOGITS, LENGTHS, blank_penalty=penalty)


def test_settings_are_a_number_or_auto() -> None:
    for good in (None, "auto", 0.0, 1, -0.5):
        DecodeSettings(blank_penalty=good)
    with pytest.raises(ConfigError, match="blank_penalty is 'best'; expected one of auto"):
        DecodeSettings(blank_penalty="best")
    with pytest.raises(ConfigError, match="blank_penalty"):
        DecodeSettings(blank_penalty=float("nan"))


@pytest.fixture
def exp(tone_exp: Path, tmp_path: Path) -> Path:
    shutil.copytree(tone_exp, tmp_path / "exp")
    return tmp_path / "exp"


def test_auto_takes_the_best_on_dev_once(exp: Path, tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, run = settings(exp, tones, "decode.blank_penalty=auto"), exp / "teacher" / "seed0"
    chosen = penalty_of(cfg, run)
    kept = json.loads((run / "blank_penalty.json").read_text())
    rates = dict(kept["dev_wer"])
    assert tuple(rates) == PENALTIES
    assert chosen == kept["chosen"] == min(rates, key=lambda one: (rates[one], one))

    def never(*_: object) -> None:
        raise AssertionError("dev was decoded again")

    monkeypatch.setattr(blank_penalty, "outputs", never)
    assert penalty_of(cfg, run) == chosen
    with pytest.raises(AssertionError):
        penalty_of(settings(exp, tones, "decode.blank_penalty=auto", "decode.beam=4"), run)


def test_a_set_is_decoded_with_it_and_anew_for_another(exp: Path, tones: Path) -> None:
    run = exp / "teacher" / "seed0"

    def words(*overrides: str) -> int:
        decode_run(settings(exp, tones, *overrides), run, "dev")
        return len((run / "decode_dev" / "text").read_text().split())

    def stamp() -> dict:
        return json.loads((run / "decode_dev" / "decode.json").read_text())

    plain = words()
    assert "blank_penalty" not in stamp()
    more = words("decode.blank_penalty=3")
    assert stamp()["blank_penalty"] == 3 and more > plain
    assert words("decode.blank_penalty=-30") < plain
    for line in (run / "decode_dev" / "hyp.jsonl").read_text().splitlines():
        one = json.loads(line)
        assert len(one["confidences"]) == len(one["text"].split())
