"""Language models and the search over words, each against an independent computation."""

from __future__ import annotations

import base64
import gzip
import itertools
import math
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from seqkd.data.tokens import Tokenizer, train_tokenizer
from seqkd.decoding.language_model import LanguageModel
from seqkd.decoding.lexicon import Lexicon
from seqkd.decoding.ngram import NGram, read_words, train_ngram
from seqkd.decoding.word_beam import WordSearch, word_beam_search
from seqkd.errors import ConfigError, DataError

TEXTS = ["a b a", "b a", "a b b a c", "c a b", "a", "b b", "c c a b a"]


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices("abcde", weights=[8, 4, 2, 1, 1], k=rng.randint(0, 6))) for _ in range(count)]


def kneser_ney(texts: list[str], order: int, history: tuple[str, ...], word: str) -> float:
    """The textbook's recursion, counting everything anew for each probability."""
    padded = [("<s>", *text.split(), "</s>") for text in texts]
    vocabulary = {word for words in padded for word in words if word != "<s>"} | {"<unk>"}

    def occurrences(size: int) -> Counter:
        return Counter(words[at : at + size] for words in padded for at in range(len(words) - size + 1))

    def table(size: int) -> dict:
        grams = [gram for gram in occurrences(size) if size > 1 or gram != ("<s>",)]
        if size == order:
            return {gram: occurrences(size)[gram] for gram in grams}
        longer = list(occurrences(size + 1))
        raw = occurrences(size)
        return {g: raw[g] if g[0] == "<s>" else sum(one[1:] == g for one in longer) for g in grams}

    def p(size: int, before: tuple[str, ...]) -> float:
        if size == 0:
            return 1 / len(vocabulary)
        counts = table(size)
        n1, n2 = (sum(count == n for count in counts.values()) for n in (1, 2))
        discount = n1 / (n1 + 2 * n2) if n1 and n2 else 0.75
        after = {gram: count for gram, count in counts.items() if gram[:-1] == before}
        if not after:
            return p(size - 1, before[1:])
        total = sum(after.values())
        kept = max(after.get((*before, word), 0) - discount, 0) / total
        return kept + discount * len(after) / total * p(size - 1, before[1:])

    before = history[-(order - 1) :] if order > 1 else ()
    return p(len(before) + 1, before)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_probabilities_are_those_of_the_recursion_and_sum_to_one(order):
    model = train_ngram(TEXTS, order)
    outcomes = [*model.words, "</s>", "<unk>"]
    histories = [h for size in range(order) for h in itertools.product(["<s>", "a", "b", "c"], repeat=size)]
    for history in histories:
        if "<s>" in history[1:]:
            continue
        probs = {word: 10 ** model.log_prob(history, word) for word in outcomes}
        assert sum(probs.values()) == pytest.approx(1, abs=1e-9)
        for word, found in probs.items():
            assert found == pytest.approx(kneser_ney(TEXTS, order, history, word), rel=1e-9)


def test_perplexity_of_text_it_has_not_seen():
    training, other = sentences(60, seed=1), [*sentences(10, seed=2), "a zebra"]
    model = train_ngram(training, 3)
    log_probs = [
        math.log(kneser_ney(training, 3, tuple(words[:at]), words[at]))
        for text in other
        for words in [["<s>", *(w if w != "zebra" else "<unk>" for w in text.split()), "</s>"]]
        for at in range(1, len(words))
    ]
    assert model.perplexity(other) == pytest.approx(math.exp(-sum(log_probs) / len(log_probs)), rel=1e-9)
    assert model.perplexity(training) < model.perplexity(other)
    # A longer memory helps where there is something to remember.
    regular = ["a b c d"] * 30 + ["d c b a"] * 30
    shuffled = ["a c b d", "d b c a", "b d a c"] * 20
    assert train_ngram(regular, 3).perplexity(regular) < train_ngram(shuffled, 3).perplexity(regular) / 2


@pytest.mark.parametrize("packed", [False, True])
def test_kenlm_reads_from_the_arpa_file_what_was_trained(tmp_path, packed, capfd):
    model = train_ngram(sentences(40, seed=3), 3)
    path = tmp_path / "lm.arpa"
    model.write_arpa(path)
    if packed:
        (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "lm.arpa.gz"
    assert read_words(path) == model.words == list("abcde")
    words = [*model.words, "zebra"]
    language_model = LanguageModel(path, words)
    assert capfd.readouterr() == ("", "")  # KenLM's bar would spoil ours
    for text in [*sentences(20, seed=4), "b zebra a"]:
        history, seen = language_model.start(), ["<s>"]
        for word in text.split():
            history, log_prob = language_model.follow(history, words.index(word))
            assert log_prob / math.log(10) == pytest.approx(model.log_prob(seen, word), abs=1e-5)
            seen.append(word)
        end = language_model.finish(history)
        assert end / math.log(10) == pytest.approx(model.log_prob(seen, "</s>"), abs=1e-5)
    assert language_model.unigram(0) / math.log(10) == pytest.approx(model.log_prob([], "a"), abs=1e-5)


# What KenLM's build_binary (trie) makes of the model below.
BINARY = (
    "H4sIAAAAAAACA8vNTSxQyMlVyCgpKbDS18/OSE1My0zNSdFLzs/VT85PSVVIyy/KTSxRKEstKs7Mz1Mw5WJAgAZ7ILGfEUj8BwKQ"
    "CCNUhglMHrBngoqBMDtUDtkENihdUKe417KtlEEwO/vyJXFxduner9cUarn0flwM/repdV8SV873j7XFD7LvV7F2/9MWPQjTf3jV"
    "hv0ghyBMPHaIb97JfTCe3l+O/bvPPYbzna617Bdf1rmPGcpnX20OlmdBUg8yjw1NPScDKuBiwA4W/uP7yRu4+VR6nX9mfIzfojpB"
    "vZVfOT0ePFE/NNdEfuFxnbpn36d8E7yqfYkdWZtNaV62HYNNsR1DIkNiUhIQM9joA3lJiQwASRGtO6IBAAA="
)


def test_kenlms_binaries_are_read(tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    model = train_ngram(["ab ba", "abb a", "a ab", "ab ba a"], 2)
    path = tmp_path / "lm.bin"
    path.write_bytes(gzip.decompress(base64.b64decode(BINARY)))
    words = ["ab", "ba", "a", "abb", "zebra"]
    language_model = LanguageModel(path, words)
    for first, second in itertools.product(range(5), repeat=2):
        history, log_prob = language_model.follow(language_model.start(), first)
        assert log_prob / math.log(10) == pytest.approx(model.log_prob(["<s>"], words[first]), abs=1e-5)
        log_prob = language_model.follow(history, second)[1]
        assert log_prob / math.log(10) == pytest.approx(model.log_prob(["<s>", words[first]], words[second]), abs=1e-5)
    path.write_bytes(path.read_bytes()[:300])
    assert message(DataError, LanguageModel, path, words).startswith(f"{path} cannot be read as a language model (")


def test_arpa_file_is_the_same_each_time_and_counts_itself(tmp_path):
    for name in ("one", "two"):
        train_ngram(TEXTS if name == "one" else TEXTS[::-1], 2).write_arpa(tmp_path / name)
    text = (tmp_path / "one").read_text()
    assert text == (tmp_path / "two").read_text()
    assert text.startswith("\\data\\\nngram 1=6\nngram 2=")  # a b c <s> </s> <unk>
    assert text.endswith("\\end\\\n")


# ---- the search


def tokenizer_of(kind: str) -> Tokenizer:
    texts = ["ab ba", "abb a", "b ab", "baa abb"]
    if kind == "between":
        return train_tokenizer(texts, type="char", vocab_size=20, word_boundary="between")
    return train_tokenizer(texts * 3, type=kind, vocab_size=8 if kind == "bpe" else 20)


def log_prob_of_units(log_probs: torch.Tensor, units: list[int]) -> float:
    """Natural log-probability of a unit sequence: minus torch's CTC loss."""
    frames = torch.tensor([len(log_probs)])
    loss = torch.nn.functional.ctc_loss(
        log_probs[:, None], torch.tensor([units]), frames, torch.tensor([len(units)]), reduction="sum"
    )
    return -float(loss)


def every_sequence(frames: int, words: list[str], spelled: dict[str, int]) -> list[tuple[str, ...]]:
    """All word sequences that fit the frames."""
    found, new = [()], [()]
    while new:
        new = [(*s, w) for s in new for w in words if sum(spelled[v] for v in (*s, w)) <= frames]
        found += new
    return found


@pytest.mark.parametrize("kind", ["word", "bpe", "char", "between"])
@pytest.mark.parametrize("fused", [False, True])
def test_a_wide_beam_finds_what_exhaustive_scoring_finds(tmp_path, kind, fused):
    tokenizer = tokenizer_of(kind)
    words = ["ab", "ba", "a", "abb"] if kind != "word" else ["ab", "ba", "a", "abb", "baa"]
    lexicon = Lexicon(words, tokenizer)
    assert lexicon.words == words
    assert (lexicon.boundary is None) == (kind != "between")
    model = None
    trained = train_ngram(["ab ba", "abb a", "a ab", "ab ba a"], 2)
    if fused:
        trained.write_arpa(tmp_path / "lm.arpa")
        model = LanguageModel(tmp_path / "lm.arpa", words)
        lexicon.look_ahead(model.unigram)
    weight, word_score = (0.7, -0.3) if fused else (0.0, 0.0)
    search = WordSearch(lexicon, model, weight, word_score, beam_size=10_000, token_min_logp=-math.inf)
    frames = 5 if kind in ("char", "between") else 4
    spelled = {word: len(tokenizer.encode(word)) for word in words}
    for seed in range(6):
        logits = 2 * torch.randn(frames, len(tokenizer), generator=torch.Generator().manual_seed(seed))
        log_probs = logits.double().log_softmax(-1)
        scores = {}
        for sequence in every_sequence(frames, words, spelled):
            units = tokenizer.encode(" ".join(sequence)) if sequence else []
            acoustic = log_prob_of_units(log_probs, units) if units else float(log_probs[:, 0].sum())
            padded = ["<s>", *sequence, "</s>"]
            said = sum(trained.log_prob(padded[:at], padded[at]) for at in range(1, len(padded))) * math.log(10)
            scores[sequence] = acoustic + weight * said + word_score * len(sequence)
        (found,) = word_beam_search(logits[None], torch.tensor([frames]), search)
        best = sorted(scores, key=scores.get, reverse=True)[:3]
        got = {
            tuple(tokenizer.decode(h.tokens).split()): h.score for h in found if kind != "between" or ends(h, lexicon)
        }
        assert list(got)[:3] == best
        assert [got[s] for s in best] == pytest.approx([scores[s] for s in best], abs=1e-4)


def ends(hypothesis, lexicon: Lexicon) -> bool:
    """Whether it ends with a word, not with a boundary after one."""
    return not hypothesis.tokens or hypothesis.tokens[-1] != lexicon.boundary


def utterance(tokenizer: Tokenizer, text: str, repeat: int = 2, peak: float = 8.0) -> torch.Tensor:
    """Logits (1, T, C) that say a text, every unit for some frames, with a blank only where CTC needs one."""
    path, last = [], None
    for unit in tokenizer.encode(text):
        path += [0] if unit == last else []
        path += [unit] * repeat
        last = unit
    logits = torch.zeros(1, len(path), len(tokenizer))
    logits[0, torch.arange(len(path)), path] = peak
    return logits


@pytest.mark.parametrize("kind", ["word", "bpe", "char"])
def test_a_last_unit_that_lasts_derails_flashlights_search_and_not_this_one(tmp_path, kind):
    tokenizer = tokenizer_of(kind)
    words = ["ab", "ba", "a", "abb", "b"]
    text = "abb a ab b ba"
    logits = utterance(tokenizer, text)
    search = WordSearch(Lexicon(words, tokenizer))
    ((best, *_),) = word_beam_search(logits, torch.tensor([logits.shape[1]]), search)
    assert tokenizer.decode(best.tokens) == text
    if kind == "bpe":
        pytest.importorskip("flashlight.lib.text.decoder.kenlm")
        assert flashlight(tmp_path, tokenizer, words, logits) != text


def flashlight(folder: Path, tokenizer: Tokenizer, words: list[str], logits: torch.Tensor) -> str:
    from torchaudio.models.decoder import ctc_decoder

    units = [f"u{unit}" for unit in range(len(tokenizer))]
    lexicon = folder / "lexicon.txt"
    lexicon.write_text("".join(f"{w} {' '.join(units[u] for u in tokenizer.encode(w))}\n" for w in words))
    decoder = ctc_decoder(str(lexicon), units, beam_size=200, blank_token="u0", sil_token="u0", unk_word=words[0])
    ((best, *_),) = decoder(logits.log_softmax(-1))
    return " ".join(best.words)


def test_a_word_that_the_model_forbids_is_not_written(tmp_path):
    tokenizer = tokenizer_of("word")
    words = ["ab", "ba", "abb"]
    logits = torch.zeros(1, 3, len(tokenizer))
    for frame, (first, second) in enumerate([("ab", "ba"), ("abb", "ba"), ("ba", "ab")]):
        logits[0, frame, tokenizer.encode(first)[0]] = 9
        logits[0, frame, tokenizer.encode(second)[0]] = 7
    trained = train_ngram(["ab ba", "abb ba", "ba", "ab ab", "ab abb ba"], 2)
    forbidding = NGram(2, {gram: -90.0 if gram[-1] == "abb" else p for gram, p in trained.log_probs.items()}, {})
    said = {}
    for name, model in (("all", trained), ("without", forbidding)):
        model.write_arpa(tmp_path / name)
        search = WordSearch(Lexicon(words, tokenizer), LanguageModel(tmp_path / name, words), lm_weight=1.0)
        ((best, *_),) = word_beam_search(logits, torch.tensor([3]), search)
        said[name] = tokenizer.decode(best.tokens)
    assert said == {"all": "ab abb ba", "without": "ab ba"}


def test_the_language_model_decides_between_words_that_sound_alike(tmp_path):
    tokenizer = tokenizer_of("word")
    ab, ba, a = (tokenizer.encode(word)[0] for word in ("ab", "ba", "a"))
    logits = torch.full((1, 3, len(tokenizer)), -5.0)
    logits[0, 0, a], logits[0, 1, 0] = 5, 5
    logits[0, 2, ab], logits[0, 2, ba] = 5.0, 4.9
    train_ngram(["a ba"] * 9 + ["ab a"] * 9, 2).write_arpa(tmp_path / "lm")
    words = ["ab", "ba", "a"]
    model = LanguageModel(tmp_path / "lm", words)
    for weight, text in ((0.0, "a ab"), (0.5, "a ba")):
        ((best, *_),) = word_beam_search(
            logits, torch.tensor([3]), WordSearch(Lexicon(words, tokenizer), model, weight)
        )
        assert tokenizer.decode(best.tokens) == text


def test_outlook_of_a_node_is_the_best_word_below_it_and_helps_a_narrow_beam(tmp_path):
    tokenizer = tokenizer_of("char")
    words = ["ab", "abb", "ba", "baa"]
    lexicon = Lexicon(words, tokenizer)
    worth = dict(zip(words, (-5.0, -1.0, -3.0, -2.0), strict=True))
    lexicon.look_ahead(lambda word: worth[words[word]])
    node, outlooks = lexicon.root, []
    for unit in tokenizer.encode("abb"):
        node = node.children[unit]
        outlooks.append(node.outlook)
    assert outlooks == [-1.0, -1.0, -1.0, -1.0]
    outlooks = []
    node = lexicon.root
    for unit in tokenizer.encode("baa"):
        node = node.children[unit]
        outlooks.append(node.outlook)
    assert outlooks == [-1.0, -2.0, -2.0, -2.0]
    assert lexicon.root.outlook == 0.0

    # "ab" sounds a little better, but is rare; with room for one prefix, only looking ahead keeps the other alive.
    logits = torch.zeros(1, 3, len(tokenizer))
    space, a, b = tokenizer.encode("ab")
    logits[0, 0, space] = logits[0, 2, 0] = 20
    logits[0, 1, a], logits[0, 1, b] = 10.0, 9.0
    train_ngram(["b"] * 50 + ["c b", "d b", "e b", "b b", "a"], 2).write_arpa(tmp_path / "lm")
    lexicon = Lexicon(["a", "b"], tokenizer)
    model = LanguageModel(tmp_path / "lm", lexicon.words)
    for ahead, text in ((False, "a"), (True, "b")):
        if ahead:
            lexicon.look_ahead(model.unigram)
        ((best, *_),) = word_beam_search(logits, torch.tensor([3]), WordSearch(lexicon, model, 1.0, beam_size=1))
        assert tokenizer.decode(best.tokens) == text


def test_word_score_makes_for_more_words():
    tokenizer = tokenizer_of("char")
    logits = torch.randn(1, 30, len(tokenizer), generator=torch.Generator().manual_seed(5))
    lengths = []
    for word_score in (-4.0, 0.0, 4.0):
        search = WordSearch(Lexicon(["ab", "ba", "a"], tokenizer), word_score=word_score, beam_size=30)
        ((best, *_),) = word_beam_search(logits, torch.tensor([30]), search)
        lengths.append(len(tokenizer.decode(best.tokens).split()))
    assert lengths[0] < lengths[1] < lengths[2]


def test_utterances_do_not_depend_on_padding_or_on_each_other():
    tokenizer = tokenizer_of("bpe")
    search = WordSearch(Lexicon(["ab", "ba", "a"], tokenizer))
    logits = torch.randn(3, 12, len(tokenizer), generator=torch.Generator().manual_seed(6))
    lengths = torch.tensor([12, 5, 0])
    together = word_beam_search(logits, lengths, search)
    spoilt = logits.clone()
    spoilt[1, 5:] = math.nan
    assert word_beam_search(spoilt, lengths, search) == together
    assert word_beam_search(logits[1:2, :5], torch.tensor([5]), search)[0] == together[1]
    assert [h.tokens for h in together[2]] == [[]]


def test_an_unfinished_word_is_cut_off_only_if_nothing_else_is_left():
    tokenizer = tokenizer_of("char")
    logits = utterance(tokenizer, "ab", repeat=1, peak=60.0)[:, :-1]  # breaks off within the word
    ((best, *others),) = word_beam_search(
        logits, torch.tensor([2]), WordSearch(Lexicon(["ab"], tokenizer), beam_size=1)
    )
    assert best.tokens == []
    assert others == []


# ---- what can be wrong


def message(kind, function, *arguments, **settings):
    with pytest.raises(kind) as raised:
        function(*arguments, **settings)
    return str(raised.value)


def test_lexicon_says_what_it_leaves_out():
    tokenizer = tokenizer_of("bpe")
    lexicon = Lexicon(["ab", "xyz", "ab", "ba"], tokenizer)
    assert (lexicon.words, lexicon.left_out) == (["ab", "ba"], ["xyz"])
    assert message(DataError, Lexicon, ["AB", "BA"], tokenizer) == (
        "None of the 2 words of the lexicon can be spelled with the tokenizer's units, the first is 'AB'; "
        "are one in upper case and the other in lower case?"
    )


def test_without_flashlight_only_a_binary_is_refused(tmp_path, monkeypatch):
    binary = tmp_path / "lm.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5")
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder.kenlm", None)
    assert message(ConfigError, LanguageModel, binary, ["a"]) == (
        f"decode.lm is {binary}, a binary of KenLM's, and what reads it is not installed: pip install 'seqkd[lm]' "
        "(flashlight-text, for Python up to 3.12); or give the ARPA file"
    )


def test_bad_files(tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")  # without it, test_arpa.py has these
    no = tmp_path / "no.arpa"
    assert message(DataError, LanguageModel, no, ["a"]) == f"The language model {no} does not exist; correct decode.lm."
    text = tmp_path / "text.arpa"
    text.write_text("just words\n")
    said = message(DataError, LanguageModel, text, ["a"])
    assert said.startswith(f"{text} cannot be read as a language model (first non-empty line was")
    assert said.endswith("expected an ARPA file or a binary of KenLM's.")
    assert "\n" not in said
    cut = tmp_path / "cut.arpa"
    train_ngram(TEXTS, 2).write_arpa(cut)
    whole = cut.read_bytes()
    cut.write_bytes(whole[:150])
    assert "cannot be read as a language model (" in message(DataError, LanguageModel, cut, ["a"])
    assert message(DataError, read_words, text) == f"{text}, line 1: found 'just words', expected one word."
    packed = tmp_path / "cut.arpa.gz"
    packed.write_bytes(gzip.compress(whole)[:60])
    assert message(DataError, read_words, packed).startswith(f"{packed} cannot be read: ")
    latin = tmp_path / "latin"
    latin.write_bytes(b"one\nbl\xf6d\n")
    assert message(DataError, read_words, latin).startswith(f"{latin}, line 2: byte 3 (0xf6) is not valid UTF-8")
    (tmp_path / "empty").write_text("")
    assert "holds no words" in message(DataError, read_words, tmp_path / "empty")


def test_bad_settings():
    lexicon = Lexicon(["ab"], tokenizer_of("bpe"))
    assert "beam_size must be at least 1" in message(ConfigError, WordSearch, lexicon, beam_size=0)
    assert "lm_weight is -1" in message(ConfigError, WordSearch, lexicon, lm_weight=-1.0)
    assert "order of the language model is 1" in message(ConfigError, train_ngram, TEXTS, 1)
    assert "order of the language model is 2.5" in message(ConfigError, train_ngram, TEXTS, 2.5)
    assert message(DataError, train_ngram, ["", " "], 2).endswith("the transcripts hold no words.")
    assert "'a <unk>' holds" in message(DataError, train_ngram, ["a <unk>"], 2)
    assert "no transcript has 3 words or more; set a lower decode.lm_order" in message(
        DataError, train_ngram, ["a b"], 5
    )
