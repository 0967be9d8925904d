"""N-gram language models of words, trained on transcripts and written as ARPA files.

For the text of a corpus: a million words take about a gigabyte and half a minute. For much more, KenLM's own ``lmplz``
writes files that decoding reads just as well. No package that pip installs does this: kenlm's has no ``lmplz``, nltk's
models write no ARPA.

Letters: h a history, w a word, c counts, D a discount.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqkd.errors import ConfigError, DataError
from seqkd.files import decode_line, write_text
from seqkd.settings import number

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
_USUAL_DISCOUNT = 0.75  # where no n-gram was seen just once, or none just twice
_NEVER = -99.0  # log10 probability of <s>, by the custom of ARPA files

Gram = tuple[str, ...]


@dataclass(frozen=True)
class NGram:
    """A backing-off model, as an ARPA file holds it.

    Attributes:
        order: The longest n-gram.
        log_probs: log10 P(w | h) by (*h, w), for all n-grams that were seen.
        backoffs: log10 of the weight by which a seen history hands on to the shorter one.
    """

    order: int
    log_probs: dict[Gram, float]
    backoffs: dict[Gram, float]

    @property
    def words(self) -> list[str]:
        """Its words, sorted, without ``<s>``, ``</s>`` and ``<unk>``."""
        return sorted(gram[0] for gram in self.log_probs if len(gram) == 1 and gram[0] not in (BEGIN, END, UNKNOWN))

    def log_prob(self, history: Sequence[str], word: str) -> float:
        """log10 P(word | history); a word that it does not know counts as ``<unk>``."""
        known = [w if (w,) in self.log_probs else UNKNOWN for w in (*history, word)]
        gram, backoff = tuple(known[-self.order :]), 0.0
        while gram not in self.log_probs:
            backoff += self.backoffs.get(gram[:-1], 0.0)
            gram = gram[1:]
        return backoff + self.log_probs[gram]

    def perplexity(self, sentences: Iterable[str]) -> float:
        """Perplexity a word, the end of a sentence being one."""
        total, words = 0.0, 0
        for sentence in sentences:
            padded = [BEGIN, *sentence.split(), END]
            total += sum(self.log_prob(padded[:at], padded[at]) for at in range(1, len(padded)))
            words += len(padded) - 1
        if not words:
            raise DataError("There are no sentences to take the perplexity of.")
        return 10 ** (-total / words)

    def write_arpa(self, path: Path) -> None:
        """Write an ARPA file, n-grams sorted; it appears whole."""
        by_size: dict[int, list[Gram]] = defaultdict(list)
        for gram in self.log_probs:
            by_size[len(gram)].append(gram)
        lines = ["\\data\\", *(f"ngram {size}={len(by_size[size])}" for size in range(1, self.order + 1))]
        for size in range(1, self.order + 1):
            lines += ["", f"\\{size}-grams:"]
            for gram in sorted(by_size[size]):
                backoff = f"\t{self.backoffs[gram]:.7f}" if gram in self.backoffs else ""
                lines.append(f"{self.log_probs[gram]:.7f}\t{' '.join(gram)}{backoff}")
        write_text(path, "\n".join([*lines, "", "\\end\\", ""]))


def train_ngram(sentences: Iterable[str], order: int = 3) -> NGram:
    """Train a model by interpolated Kneser-Ney smoothing.

    P(w | h) = max(c(hw) − D, 0) / c(h·) + D · N₁₊(h·) / c(h·) · P(w | h without its first word), where N₁₊(h·) is how
    many different words follow h. The longest n-grams and those that begin a sentence are counted as they occur,
    shorter ones by how many different words precede them. One discount an order, D = n₁ / (n₁ + 2 n₂), n₁ and n₂
    being how many n-grams have a count of one and two (Ney, Essen and Kneser 1994); ``lmplz`` has three (the
    "modified" form of Chen and Goodman 1999). Below unigrams stands the uniform distribution over all words, the
    sentence's end and ``<unk>``.

    Args:
        sentences: Transcripts; a word is what stands between spaces.
        order: The longest n-gram, 2 to 6 (what KenLM reads).

    Raises:
        ConfigError: ``order`` is out of range.
        DataError: There are no words, or one of them is ``<s>``, ``</s>`` or ``<unk>``.
    """
    if not isinstance(order, int) or isinstance(order, bool):
        raise ConfigError(f"The order of the language model is {order!r}; expected a whole number.")
    number("The order of the language model", order, 2, 6)
    counts = _count(sentences, order)
    grams = [_kneser_ney_counts(counts, size, order) for size in range(1, order + 1)]
    vocabulary = {gram[0] for gram in grams[0]} | {UNKNOWN}
    if not vocabulary - {END, UNKNOWN}:
        raise DataError("A language model cannot be trained: the transcripts hold no words.")
    probs: dict[Gram, float] = {(UNKNOWN,): 0.0}
    handed_on: dict[Gram, float] = {}
    for table in grams:
        discount = _discount(table)
        total: Counter[Gram] = Counter()
        followers: Counter[Gram] = Counter()
        for gram, count in table.items():
            total[gram[:-1]] += count
            followers[gram[:-1]] += 1
        handed_on |= {history: discount * followers[history] / total[history] for history in total}
        for gram in table if len(next(iter(table))) > 1 else [*table, (UNKNOWN,)]:
            history, seen = gram[:-1], table.get(gram, 0)
            shorter = probs[gram[1:]] if history else 1 / len(vocabulary)
            probs[gram] = max(seen - discount, 0.0) / total[history] + handed_on[history] * shorter
    log_probs = {gram: math.log10(p) for gram, p in probs.items()}
    log_probs[(BEGIN,)] = _NEVER
    return NGram(order, log_probs, {h: math.log10(weight) for h, weight in handed_on.items() if h})


def _count(sentences: Iterable[str], order: int) -> list[Counter[Gram]]:
    """How often every n-gram of each size occurs, sentences padded with ``<s>`` and ``</s>``."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = sentence.split()
        if set(words) & {BEGIN, END, UNKNOWN}:
            raise DataError(
                f"{sentence!r} holds {BEGIN}, {END} or {UNKNOWN}, which language models keep for themselves; "
                "take it out of the transcript."
            )
        padded = (BEGIN, *words, END)
        for size in range(1, order + 1):
            counts[size - 1].update(padded[at : at + size] for at in range(len(padded) - size + 1))
    return counts


def _kneser_ney_counts(counts: list[Counter[Gram]], size: int, order: int) -> Counter[Gram]:
    """The counts that n-grams of one size are estimated from."""
    here = counts[size - 1]
    if size == order:
        table = Counter({gram: count for gram, count in here.items() if gram != (BEGIN,)})
    else:
        table = Counter(gram[1:] for gram in counts[size])
        table.update({gram: count for gram, count in here.items() if gram[0] == BEGIN and size > 1})
    if not table:
        raise DataError(
            f"A language model of order {order} cannot be trained: no transcript has {size - 2} words or more; "
            "set a lower decode.lm_order."
        )
    return table


def _discount(table: Counter[Gram]) -> float:
    once, twice = (sum(count == wanted for count in table.values()) for wanted in (1, 2))
    return once / (once + 2 * twice) if once and twice else _USUAL_DISCOUNT


def read_words(path: Path) -> list[str]:
    """Return the words of an ARPA file (``.gz`` is unpacked) or of a list, one a line, in the file's order.

    Raises:
        DataError: The file cannot be read, is not UTF-8 or holds no words; the message names file and line.
    """
    opened = gzip.open if path.suffix == ".gz" else Path.open
    words: list[str] = []
    section = ""  # of an ARPA file, such as \1-grams:
    try:
        with opened(path, "rb") as file:
            for line, raw in enumerate(file, start=1):
                text = decode_line(raw, f"{path}, line {line}").strip()
                if text.startswith("\\"):
                    if section == "\\1-grams:":
                        break
                    section = text
                elif text and section in ("", "\\1-grams:"):
                    fields = text.split()
                    if len(fields) < (2 if section else 1) or (not section and len(fields) > 1):
                        wanted = "log probability and word" if section else "one word"
                        raise DataError(f"{path}, line {line}: found {text!r}, expected {wanted}.")
                    words.append(fields[1] if section else fields[0])
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    words = [word for word in dict.fromkeys(words) if word not in (BEGIN, END, UNKNOWN)]
    if not words:
        raise DataError(f"{path} holds no words; expected an ARPA file, or a list of one word a line.")
    return words
