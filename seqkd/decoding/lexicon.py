"""The words that decoding may write, as a tree of the tokenizer's units."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from seqkd.data.kaldi import FORM
from seqkd.data.tokens import Tokenizer
from seqkd.errors import DataError


class Node:
    """A beginning that words share.

    Attributes:
        children: Nodes by the unit that leads to them.
        word: Index of the word that ends here; None if none does.
        outlook: Greatest log-probability of a word here or below; see ``Lexicon.look_ahead``.
    """

    __slots__ = ("children", "outlook", "word")

    def __init__(self) -> None:
        self.children: dict[int, Node] = {}
        self.word: int | None = None
        self.outlook = 0.0


class Lexicon:
    """Words and their spellings, each word in the one way in which the tokenizer spells it.

    Where one word ends and the next begins follows from the tokenizer: either units that begin a word are marked, so
    that the spelling of a text is those of its words, one after another; or a unit stands between words.

    Attributes:
        words: Those that can be spelled.
        spellings: Their units, in the same order.
        left_out: Words with a character that has no unit, or spelled like an earlier word.
        boundary: The unit between words; None where beginnings are marked.
        root: What all words begin at.
    """

    def __init__(self, words: Iterable[str], tokenizer: Tokenizer) -> None:
        """Spell the words.

        Raises:
            DataError: None of them can be spelled, or a word's units depend on its neighbours.
        """
        self.words: list[str] = []
        self.spellings: list[list[int]] = []
        self.left_out: list[str] = []
        self.root = Node()
        for word in dict.fromkeys(unicodedata.normalize(FORM, word) for word in words):
            try:
                units = tokenizer.encode(word)
            except DataError:
                units = []
            if not units or not self._insert(units):
                self.left_out.append(word)
                continue
            self.words.append(word)
            self.spellings.append(units)
        if not self.words:
            named = f", the first is {self.left_out[0]!r}" if self.left_out else ""
            raise DataError(
                f"None of the {len(self.left_out)} words of the lexicon can be spelled with the tokenizer's units"
                f"{named}; are one in upper case and the other in lower case?"
            )
        self.boundary = self._find_boundary(tokenizer)

    def _insert(self, units: Sequence[int]) -> bool:
        node = self.root
        for unit in units:
            node = node.children.setdefault(unit, Node())
        if node.word is not None:
            return False
        node.word = len(self.words)
        return True

    def _find_boundary(self, tokenizer: Tokenizer) -> int | None:
        (left, left_units), (right, right_units) = (
            (self.words[at], self.spellings[at]) for at in (0, min(1, len(self.words) - 1))
        )
        both = tokenizer.encode(f"{left} {right}")
        if both == left_units + right_units:
            return None
        at = len(left_units)
        if both[:at] == left_units and both[at + 1 :] == right_units:
            return both[at]
        raise DataError(
            f"The tokenizer spells {left!r} and {right!r} otherwise side by side than alone; decoding with a lexicon "
            "needs units that do not cross words (unigram, bpe, char or word)."
        )

    def look_ahead(self, log_prob: Callable[[int], float]) -> None:
        """Set every node's ``outlook`` from the log-probability of each word."""

        def visit(node: Node) -> float:
            best = -math.inf if node.word is None else log_prob(node.word)
            node.outlook = max([best, *map(visit, node.children.values())])
            return node.outlook

        visit(self.root)
        self.root.outlook = 0.0
