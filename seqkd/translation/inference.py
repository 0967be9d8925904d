"""Inference calibration: does a decoder know which of the tokens that it wrote are right?

Teacher-forced calibration feeds the reference; in use a decoder feeds itself, and there the same model may be
overconfident. Inference ECE (Wang et al., ACL 2020, "On the Inference Calibration of Neural Machine Translation",
arXiv:2005.00963) takes the decoder's own output: the confidence of a token is the probability that the model gave it
when it wrote it, and a token is correct if an alignment with the reference matches it.

Which alignment decides what is correct, and there are two:

- ``edit``, the default: fewest edits, in order, as the word error rate aligns. Chosen, not the paper's: it is quick
  and strict, and a phrase in another place counts as wrong.
- ``ter``: as the authors' released code reads Tercom's output: after the shifts of the translation edit rate a moved
  phrase counts as right, and a token before which the reference has one that is missing counts as wrong, even if it
  matches itself. By sacreBLEU's Tercom, which is nearly exact. It takes some 10 ms a sentence.

The released code uses 20 bins; here as elsewhere in this package 15 are the default. The end of the sentence is not a
decoded token here, as in the released code. ECE is biased upwards (see `seqkd.translation.forced`).

Legend: N sentences, K decoded tokens of all sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqkd.errors import ConfigError
from seqkd.scoring.align import align, number_tokens
from seqkd.scoring.words import DELETION, MATCH

EDIT, TER = ALIGNMENTS = ("edit", "ter")


def correct_tokens(
    hypotheses: Sequence[Sequence[int]], references: Sequence[Sequence[int]], alignment: str = EDIT
) -> np.ndarray:  # (K,)
    """Return which decoded tokens are correct, one sentence after the other.

    Args:
        hypotheses: N decoded token sequences.
        references: N reference token sequences.
        alignment: ``edit`` or ``ter``; see above.

    Raises:
        ConfigError: there is no such alignment.
    """
    if alignment == EDIT:
        ops = align(number_tokens(references), number_tokens(hypotheses)).ops
        return ops[ops != DELETION] == MATCH
    if alignment != TER:
        raise ConfigError(f"the alignment is {alignment!r}; expected one of {', '.join(ALIGNMENTS)}")
    pairs = zip(hypotheses, references, strict=True)
    return np.concatenate([np.zeros(0, bool), *(_by_ter(list(ours), list(theirs)) for ours, theirs in pairs)])


class _Placed(str):
    """A token that remembers where it was before shifts moved it."""

    __slots__ = ("place",)


def _by_ter(hypothesis: list[int], reference: list[int]) -> np.ndarray:
    """Return (K,) which tokens of one sentence are correct after shifts."""
    # sacreBLEU's public function returns the number of edits only. This is its loop, which ends with the trace instead;
    # the tests compare their numbers of edits.
    from sacrebleu.metrics import lib_ter

    correct = np.zeros(len(hypothesis), bool)
    if not reference or not hypothesis:
        return correct
    tokens = []
    for place, number in enumerate(hypothesis):
        token = _Placed(number)
        token.place = place
        tokens.append(token)
    distance = lib_ter.BeamEditDistance([str(number) for number in reference])
    tried = 0
    while True:
        gain, shifted, tried = lib_ter._shift(tokens, distance._words_ref, distance, tried)
        if gain <= 0 or tried >= lib_ter._MAX_SHIFT_CANDIDATES:
            break
        tokens = shifted
    at, after_gap = 0, False
    for operation in distance(tokens)[1]:
        if operation == lib_ter._OP_INS:  # a token of the reference that is missing
            after_gap = True
            continue
        correct[tokens[at].place] = operation == lib_ter._OP_NOP and not after_gap
        at, after_gap = at + 1, False
    return correct
