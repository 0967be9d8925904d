from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader")

from seqkd.corpora.speech.espeak_phonemes import cleaned, phonemes_of
from seqkd.corpora.speech.espeak_voices import as_phonemes, make_corpus
from seqkd.data.kaldi import Utterance
from seqkd.errors import ConfigError, DataError


def test_names_stay_and_stress_and_pauses_go() -> None:
    assert cleaned("t_'3:_n O2_n_D_@2 f_,aI_v__:__: a_n_d") == "t 3: n O2 n D @2 f aI v a n d"
    assert cleaned("") == ""


def test_every_voice_has_phonemes_of_its_own() -> None:
    text = "turn on the kitchen light"
    found = phonemes_of({"gmw/en-US": [text, "one, two"], "gmw/en": [text]})
    assert found["gmw/en-US"][text].split()[:3] == ["t", "3:", "n"]
    assert found["gmw/en-US"][text] != found["gmw/en"][text]
    assert found["gmw/en-US"]["one, two"] == "w V n t u:"  # both clauses
    with pytest.raises(DataError, match="knows no voice 'gmw/xx'"):
        phonemes_of({"gmw/xx": ["one"]})


def test_transcripts_are_in_the_speakers_accent() -> None:
    made = {"a": [Utterance("usf4-a0", Path("x"), "usf4", "on"), Utterance("gbf4-a1", Path("x"), "gbf4", "on")]}
    (us, gb) = as_phonemes(made, ["us", "gb"])["a"]
    assert (us.text, gb.text) == ("O2 n", "0 n") and us.id == "usf4-a0"


def test_spelling_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="spelling is 'ipa'; expected one of words, phonemes"):
        make_corpus(tmp_path, nj=1, seed=1, sets={"a": {"utterances": 1, "split": "train"}}, spelling="ipa")
