"""From CTC logits to token sequences: greedy and prefix beam search."""

from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.prefix_beam import CtcHypothesis, prefix_beam_search
from seqkd.moved import renamed

__all__ = ["CtcHypothesis", "greedy_decode", "prefix_beam_search"]

__getattr__ = renamed(__name__, Hypothesis="CtcHypothesis")
