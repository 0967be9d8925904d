"""From CTC logits to token sequences: greedy and prefix beam search."""

from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.prefix_beam import Hypothesis, prefix_beam_search

__all__ = ["Hypothesis", "greedy_decode", "prefix_beam_search"]
