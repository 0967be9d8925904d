from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from seqkd.data import tokens
from seqkd.data.tokens import TYPES, Tokenizer, train_tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.tasks.asr import make_tokens
from tests.runs import settings

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "pack my box with five dozen liquor jugs",
    "it's größe überall",
    "no no no yes",
]


def trained(type: str) -> Tokenizer:
    return train_tokenizer(TEXTS, type=type, vocab_size=40 if type == "unigram" else 60)


@pytest.mark.parametrize("type", TYPES)
def test_round_trip(type: str) -> None:
    tokenizer = trained(type)
    for text in [*TEXTS, "no fox"]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(1 < unit < len(tokenizer) for unit in ids)  # neither blank nor unknown
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("type", TYPES)
def test_blank_is_unit_0_and_unknown_1(type: str, tmp_path: Path) -> None:
    tokenizer = trained(type)
    tokenizer.save(tmp_path)
    units = json.loads((tmp_path / "tokenizer.json").read_text())["units"]
    assert tokenizer.blank == 0
    assert units[:2] == ["<blank>", "<unk>"]
    assert len(units) == len(tokenizer) == len(set(units))


def test_word_boundary_between_words_only() -> None:
    tokenizer = train_tokenizer(TEXTS, type="char", vocab_size=0, word_boundary="between")
    before = trained("char")
    boundary = tokenizer.units.index("▁")
    assert (tokenizer.word_boundary, before.word_boundary) == ("between", "before")
    assert [tokenizer.units[i] for i in tokenizer.encode("no fox")] == list("no▁fox")
    assert [before.units[i] for i in before.encode("no fox")] == list("▁no▁fox")
    assert sorted(tokenizer.units) == sorted(before.units)  # ids may differ: they follow frequency
    for text in [*TEXTS, "no fox"]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode([boundary, *ids, boundary]) == text  # teachers end words with one, too
    assert Tokenizer(tokenizer.model).word_boundary == "between"


@pytest.mark.parametrize("type", TYPES)
def test_word_boundary_is_before_words_unless_asked(type: str) -> None:
    assert trained(type).word_boundary == "before"
    assert trained(type).units[:2] == ("<blank>", "<unk>")


def test_word_boundary_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError) as caught:
        train_tokenizer(TEXTS, type="char", vocab_size=0, word_boundary="after")
    assert str(caught.value) == "setting tokens.word_boundary is 'after'; expected one of before, between"
    with pytest.raises(ConfigError) as caught:
        train_tokenizer(TEXTS, type="bpe", vocab_size=60, word_boundary="between")
    assert str(caught.value) == (
        "setting tokens.word_boundary is 'between' with tokens.type 'bpe'; only characters can do without a boundary "
        "before the first word, set tokens.type=char or tokens.word_boundary=before"
    )


def test_sizes() -> None:
    assert len(trained("bpe")) == 60
    assert len(trained("unigram")) == 40
    assert len(trained("word")) == 2 + len({w for text in TEXTS for w in text.split()})
    assert len(trained("char")) == 2 + 1 + len({c for text in TEXTS for c in text} - {" "})  # and the word boundary
    assert trained("word").encode("no no yes")[0] == trained("word").encode("no")[0]


@pytest.mark.parametrize("type", TYPES)
def test_training_depends_on_nothing_else(type: str) -> None:
    assert trained(type).hash == trained(type).hash
    assert len(trained(type).hash) == 16
    assert train_tokenizer(TEXTS[:3], type=type, vocab_size=34 if type == "unigram" else 50).hash != trained(type).hash


@pytest.mark.parametrize("type", TYPES)
def test_saving_and_loading(type: str, tmp_path: Path) -> None:
    tokenizer = trained(type)
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.hash == tokenizer.hash
    assert loaded.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


@pytest.mark.parametrize("type", TYPES)
def test_unknown_text_is_named(type: str) -> None:
    with pytest.raises(DataError) as caught:
        trained(type).encode("no ω yes", where="data/dev/text, utterance a-1")
    assert str(caught.value) == (
        "data/dev/text, utterance a-1: 'ω' in 'no ω yes' is unknown to the tokenizer; "
        "normalise the transcript, or add such text to the tokenizer's training set and run ./run.sh --stage prepare"
    )


@pytest.mark.parametrize("size", [5, 5000])
def test_a_vocabulary_that_the_data_does_not_allow(size: int) -> None:
    with pytest.raises(ConfigError) as caught:
        train_tokenizer(TEXTS, type="bpe", vocab_size=size)
    message = str(caught.value)
    assert message.startswith(f"sentencepiece cannot make {size} bpe units from 4 lines (")
    advice = re.search(r"\); set tokens\.vocab_size=(\d+) or (more|fewer)$", message)
    assert advice[2] == ("more" if size == 5 else "fewer") and "\n" not in message
    train_tokenizer(TEXTS, type="bpe", vocab_size=int(advice[1]))  # it works


def test_unknown_type() -> None:
    with pytest.raises(ConfigError) as caught:
        train_tokenizer(TEXTS, type="syllable", vocab_size=50)
    assert str(caught.value) == "setting tokens.type is 'syllable'; expected one of unigram, bpe, char, word"


def test_a_kill_between_the_two_files_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = trained("char"), train_tokenizer(["other letters: q"], type="char", vocab_size=0)
    old.save(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tokens, "write_json", killed)
        new.save(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()  # it would vouch for another model
    assert not old.is_in(tmp_path) and not new.is_in(tmp_path)
    new.save(tmp_path)
    assert new.is_in(tmp_path) and not old.is_in(tmp_path)


@pytest.mark.parametrize("change", ["no model", "no description", "damaged model", "damaged description"])
def test_the_stage_prepare_mends_what_it_is_advised_for(tones: Path, tmp_path: Path, change: str) -> None:
    cfg = settings(tmp_path, tones)
    make_tokens(cfg)
    directory = tmp_path / "tokens"
    whole = {path: path.read_bytes() for path in directory.iterdir()}
    make_tokens(cfg)  # leaves it alone
    what, file = change.split()
    path = directory / {"model": "tokenizer.model", "description": "tokenizer.json"}[file]
    path.unlink() if what == "no" else path.write_bytes(b"[]" if file == "description" else b"{" + whole[path][3:])
    with pytest.raises(DataError, match=r"run \./run\.sh --stage prepare$"):
        Tokenizer.load(directory)
    make_tokens(cfg)
    assert {path: path.read_bytes() for path in directory.iterdir()} == whole


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path)
    assert str(caught.value) == f"{tmp_path}/tokenizer.model is missing; run ./run.sh --stage prepare"


def test_hash_mismatch(tmp_path: Path) -> None:
    trained("word").save(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(trained("char").model)
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/tokenizer.model has hash {trained('char').hash}, but tokenizer.json says "
        f"{trained('word').hash}; run ./run.sh --stage prepare"
    )


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00nonsense"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    trained("word").save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "tokenizer.model") in str(caught.value)
    assert str(caught.value).endswith("run ./run.sh --stage prepare")
