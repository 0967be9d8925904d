"""CTC prefix beam search over the words of a lexicon, with an n-gram language model.

Letters: B batch, T frames, C classes.
"""

# Our own search over flashlight's KenLM: flashlight's LexiconDecoder takes every frame after a word's last unit for
# blank or its silence unit, so a last unit that lasts two frames, with subword units, derails it (its source,
# LexiconDecoder.cpp, "Try same lexicon node"; tests/decoding/test_language_model.py shows it).

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqkd.decoding.inputs import check_logits, penalised
from seqkd.decoding.language_model import History, LanguageModel
from seqkd.decoding.lexicon import Lexicon, Node
from seqkd.decoding.prefix_beam import CtcHypothesis, _extensions
from seqkd.errors import ConfigError

_LEAST = 1e-100  # probability of a class in a frame: no frame may end every hypothesis


@dataclass(frozen=True)
class WordSearch:
    """Everything a search needs besides the logits.

    Attributes:
        lexicon: The words that may be written.
        model: Their language model; None for none.
        lm_weight: Of the language model's natural log-probability, 0 or more. (What is published for log10, as in
            flashlight or torchaudio, is that divided by 2.30.)
        word_score: Added for each word: more makes for more and shorter words.
        beam_size: Prefixes kept after each frame.
        token_min_logp: As in ``prefix_beam_search``. Of a weak model a language model saves even what is less probable
            than e⁻⁷; -7 is about twice as fast.
    """

    lexicon: Lexicon
    model: LanguageModel | None = None
    lm_weight: float = 0.5
    word_score: float = 0.0
    beam_size: int = 16
    token_min_logp: float = -10.0

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ConfigError(f"beam_size must be at least 1, but is {self.beam_size}.")
        if not (self.lm_weight >= 0 and math.isfinite(self.lm_weight) and math.isfinite(self.word_score)):
            raise ConfigError(
                f"lm_weight is {self.lm_weight} and word_score {self.word_score}; expected finite numbers, "
                "the weight 0 or more."
            )


class _Prefix:
    """Units so far. ``score`` is what the finished words are worth, ``rank`` what the begun one may be, too."""

    __slots__ = ("extended", "history", "node", "parent", "rank", "score", "token")

    def __init__(
        self, parent: _Prefix | None, token: int, node: Node, history: History | None, score: float, rank: float
    ) -> None:
        self.parent, self.token, self.node, self.history = parent, token, node, history
        self.score, self.rank = score, rank
        self.extended: dict[int, _Prefix | None] = {}

    def tokens(self) -> list[int]:
        tokens, prefix = [], self
        while prefix.parent is not None:
            tokens.append(prefix.token)
            prefix = prefix.parent
        return tokens[::-1]


@torch.no_grad()
def word_beam_search(
    logits: Tensor, input_lengths: Tensor, search: WordSearch, *, blank: int = 0, blank_penalty: float = 0.0
) -> list[list[CtcHypothesis]]:
    """Search for word sequences W of high log P_CTC(W) + lm_weight · log P_LM(W) + word_score · |W|.

    P_CTC is summed over the alignments in the beam (prefix beam search with a language model at word ends: Hannun et
    al., arXiv:1408.2873). Of a word that is begun, the most probable ending counts in what the beam keeps (as a
    unigram), but not in the score.

    Args:
        logits: (B, T, C), unnormalised scores or log-probabilities (softmax is taken in float64); any device.
        input_lengths: (B,), valid frames; what lies beyond them is ignored.
        search: Lexicon, language model and settings.
        blank: Index of the blank.
        blank_penalty: Subtracted from the blank's logit; 0 (default) for none.

    Returns:
        For each of B utterances its hypotheses, best first, at least one; only ``[]`` for one without frames. They end
        with a word; only if none in the beam does is an unfinished word cut off the best.

    Raises:
        ConfigError: Shapes, lengths, blank or its penalty make no sense.
        DataError: A valid frame holds NaN or no finite best class.
    """
    lengths = check_logits(logits, input_lengths, blank)
    probs = penalised(logits.double(), blank, blank_penalty).softmax(dim=-1).cpu().numpy()  # (B, T, C)
    return [_search(frames[:length], search, blank) for frames, length in zip(probs, lengths, strict=True)]


def _search(probs: np.ndarray, search: WordSearch, blank: int) -> list[CtcHypothesis]:
    """Search one utterance; ``probs`` is (T, C)."""
    # As in prefix_beam.py: linear probabilities, rescaled after each frame; of the alignments that end in a blank, and
    # of those that end in the last unit.
    history = search.model.start() if search.model else None
    beam = {_Prefix(None, -1, search.lexicon.root, history, 0.0, 0.0): (1.0, 0.0)}
    log_scale, threshold = 0.0, math.exp(search.token_min_logp)
    for frame in np.maximum(probs, _LEAST):  # (C,)
        p_blank_now, candidates = float(frame[blank]), _extensions(frame, blank, threshold)
        ending_in_blank: dict[_Prefix, float] = {}
        ending_in_token: dict[_Prefix, float] = {}
        for prefix, (p_blank, p_token) in beam.items():
            p_prefix, last = p_blank + p_token, prefix.token
            ending_in_blank[prefix] = p_prefix * p_blank_now
            if last >= 0:
                ending_in_token[prefix] = ending_in_token.get(prefix, 0.0) + p_token * float(frame[last])
            for token, p in candidates:
                if token not in prefix.extended:
                    prefix.extended[token] = _extend(prefix, token, search)
                longer = prefix.extended[token]
                if longer is not None:
                    before = p_blank if token == last else p_prefix
                    ending_in_token[longer] = ending_in_token.get(longer, 0.0) + before * p
        totals = {
            prefix: ending_in_blank.get(prefix, 0.0) + ending_in_token.get(prefix, 0.0)
            for prefix in {**ending_in_blank, **ending_in_token}
        }
        alive = [prefix for prefix, total in totals.items() if total > 0]
        kept = heapq.nlargest(search.beam_size, alive, key=lambda prefix: math.log(totals[prefix]) + prefix.rank)
        scale = max(totals[prefix] for prefix in kept)
        log_scale += math.log(scale)
        beam = {
            prefix: (ending_in_blank.get(prefix, 0.0) / scale, ending_in_token.get(prefix, 0.0) / scale)
            for prefix in kept
        }
    found = [_finish(prefix, log_scale + math.log(sum(p)), search) for prefix, p in beam.items()]
    whole = [hypothesis for hypothesis in found if hypothesis is not None]
    if not whole:
        best, p = max(beam.items(), key=lambda entry: math.log(sum(entry[1])) + entry[0].rank)
        while best.node is not search.lexicon.root and best.node.word is None:
            best = best.parent
        whole = [_finish(best, log_scale + math.log(sum(p)), search)]
    return sorted(whole, key=lambda hypothesis: -hypothesis.score)


def _extend(prefix: _Prefix, token: int, search: WordSearch) -> _Prefix | None:
    """Return the prefix with one more unit; None if no word goes on like that."""
    lexicon, history, score = search.lexicon, prefix.history, prefix.score
    node = prefix.node.children.get(token)
    if node is None:
        if prefix.node.word is None:
            return None
        node = lexicon.root if token == lexicon.boundary else None
        if lexicon.boundary is None:
            node = lexicon.root.children.get(token)
        if node is None:
            return None
        history, score = _end_word(prefix, search)
    begun = 0.0 if node is lexicon.root else search.lm_weight * node.outlook + search.word_score
    return _Prefix(prefix, token, node, history, score, score + begun)


def _end_word(prefix: _Prefix, search: WordSearch) -> tuple[History | None, float]:
    """Return history and score with the word that ends a prefix."""
    score = prefix.score + search.word_score
    if search.model is None:
        return None, score
    history, log_prob = search.model.follow(prefix.history, prefix.node.word)
    return history, score + search.lm_weight * log_prob


def _finish(prefix: _Prefix, acoustic: float, search: WordSearch) -> CtcHypothesis | None:
    """Return what the prefix is worth as a whole utterance; None if it ends within a word."""
    history, score = prefix.history, prefix.score
    if prefix.node is not search.lexicon.root:
        if prefix.node.word is None:
            return None
        history, score = _end_word(prefix, search)
    if search.model is not None:
        score += search.lm_weight * search.model.finish(history)
    return CtcHypothesis(prefix.tokens(), acoustic + score)
