"""Real parallel text without an account: Linux manual pages in English and German, from Debian's packages.

Pages of ``manpages`` and ``manpages-dev`` and their translations in ``manpages-de`` and ``manpages-de-dev``
are aligned by their macros (``manpages_align``) and split by page: all pairs of a page, and of pages with
mostly the same paragraphs, are in one set, and no source text is in two.
"""

from __future__ import annotations

import gzip
import random
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqkd.corpora.debian import fetch, packages_of
from seqkd.corpora.text.manpages_align import Limits, page_pairs
from seqkd.corpora.text.manpages_roff import parse_page
from seqkd.corpora.text.parallel import is_made, whole, write_corpus
from seqkd.corpora.text.parallel_split import split_groups
from seqkd.errors import ConfigError, DataError
from seqkd.translation.pairs import SentencePair
from seqkd.uptodate import fingerprint

_VERSION = 1  # raise it when the same settings give other pairs
_PACKAGES = ("manpages", "manpages-dev", "manpages-de", "manpages-de-dev")
_FOLDER = "manpages-en-de"
_SHARED = 0.5  # pages that have this part of the paragraphs of the shorter one in common are one group
_LARGEST = 0.1  # the most part of dev or test that one group of pages may be
_NEAR = 0.8  # similarity, in words in order, from which on pairs of two sets count as nearly the same


def _man_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("man") if (path / "de").is_dir() and next(path.glob("man*/*"), None))


def _missing(folder: Path) -> str | None:
    return None if _man_folders(folder) else "no manual pages in English and German were in what was fetched"


def fetch_pages(downloads: Path) -> Path:
    """Return the folder below ``downloads`` with the manual pages, fetching them if they are not there.

    Raises:
        DataError: They cannot be had; the message says what was tried and what to do.
    """
    return fetch(
        downloads,
        _PACKAGES,
        _FOLDER,
        complete=_missing,
        what="manual pages",
        or_else="their unpacked folder usr/share/man",
    )


def find_pages(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return the English and the German file of every page, by name such as ``fork.2``; aliases left out."""
    pages: dict[str, tuple[Path, Path]] = {}
    taken: set[Path] = set()
    for man in _man_folders(folder):
        for german in sorted(man.glob("de/man*/*.gz")):
            english = man / german.parent.name / german.name
            if english.is_file() and not german.is_symlink() and english.resolve() not in taken:
                taken.add(english.resolve())
                pages[german.stem] = (english, german)
    return dict(sorted(pages.items()))


def _read(file: Path) -> str:
    try:
        return gzip.decompress(file.read_bytes()).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} cannot be read ({error}); delete it and its folder to have it fetched again."
        ) from error


def extract_pairs(pages: Mapping[str, tuple[Path, Path]], limits: Limits) -> tuple[list[SentencePair], Counter[str]]:
    """Return the pairs of all pages, ids ``<page>.<section>-<number>``, and how many were left out for what reason."""
    from seqkd.progress import ProgressBar

    pairs: list[SentencePair] = []
    dropped: Counter[str] = Counter()
    for name, (english, german) in ProgressBar(pages.items(), desc="manual pages", unit="page"):
        source, target = _read(english), _read(german)
        if source.startswith(".so ") or target.startswith(".so "):
            dropped["pages: aliases"] += 1
            continue
        found = page_pairs(parse_page(source), parse_page(target), limits)
        if found is None:
            dropped["pages: with other blocks than their translations"] += 1
            continue
        kept, reasons = found
        pairs += [SentencePair(f"{name}-{number:04d}", *pair) for number, pair in enumerate(kept, start=1)]
        dropped += reasons
    return pairs, dropped


def page_of(pair: SentencePair) -> str:
    """Return the page that a pair is from."""
    return pair.id.rpartition("-")[0]


def masked(text: str) -> str:
    """Return text in lower case without what names functions, constants, files and numbers."""
    words = []
    for word in text.split():
        word = word.strip(".,;:!?\"'“”[]")
        word = word if "(" in word[1:] else word.strip("()")
        words.append("_" if re.search(r"[^a-z'-]", word[1:]) else word.lower())
    return " ".join(words)


def group_pages(pairs: Iterable[SentencePair]) -> dict[str, str]:
    """Return the group of every page: pages with mostly the same paragraphs are one, named by the first of them."""
    texts: dict[str, set[str]] = {}
    for pair in pairs:
        texts.setdefault(page_of(pair), set()).add(masked(pair.source))
    holders: dict[str, list[str]] = {}
    for page in sorted(texts):
        for text in texts[page]:
            holders.setdefault(text, []).append(page)
    common: Counter[tuple[str, str]] = Counter()
    for pages in holders.values():
        common.update((one, other) for index, one in enumerate(pages) for other in pages[index + 1 :])
    parent = {page: page for page in texts}

    def root(page: str) -> str:
        while parent[page] != page:
            page = parent[page]
        return page

    for (one, other), count in sorted(common.items()):
        if count >= _SHARED * min(len(texts[one]), len(texts[other])):
            first, second = sorted((root(one), root(other)))
            parent[second] = first
    return {page: root(page) for page in texts}


def split_pairs(
    pairs: Sequence[SentencePair], sizes: Mapping[str, int], seed: int, file: Path
) -> tuple[dict[str, list[SentencePair]], int]:
    """Split pairs by page into train, dev and test, every source text once.

    A text that is on pages of several sets, if only with other names in it (``masked``), stays in train, else
    in test; so ``sizes`` count what is on pages of one group alone.

    Returns:
        The sets, and how many pairs were left out because their text is there already.
    """
    groups = group_pages(pairs)
    holders: dict[str, set[str]] = {}
    for pair in pairs:
        holders.setdefault(masked(pair.source), set()).add(groups[page_of(pair)])
    own = {pair.source.lower(): groups[page_of(pair)] for pair in pairs if len(holders[masked(pair.source)]) == 1}
    place = dict(zip(own.values(), split_groups([*own.values()], sizes, seed, file, _LARGEST), strict=True))
    sets: dict[str, list[SentencePair]] = {"train": [], "dev": [], "test": []}
    texts: set[str] = set()
    elsewhere: set[str] = set()  # the masked texts of the sets that are done
    for name in ("train", "test", "dev"):
        for pair in pairs:
            if place.get(groups[page_of(pair)], "train") != name or masked(pair.source) in elsewhere:
                continue
            if pair.source.lower() not in texts:
                texts.add(pair.source.lower())
                sets[name].append(pair)
        elsewhere |= {masked(pair.source) for pair in sets[name]}
    return sets, len(pairs) - sum(map(len, sets.values()))


def near_repeats(pairs: Sequence[SentencePair], others: Sequence[SentencePair]) -> list[SentencePair]:
    """Return the pairs whose source has nearly the words of the source of one of the others."""
    import numpy as np
    from rapidfuzz.distance import Indel
    from rapidfuzz.process import cdist

    if not pairs or not others:
        return []
    letters: dict[str, str] = {}  # a character for every word: strings are compared much faster than lists

    def spelled(pair: SentencePair) -> str:
        return "".join(letters.setdefault(word, chr(0x10000 + len(letters))) for word in masked(pair.source).split())

    left, right = ([spelled(pair) for pair in some] for some in (pairs, others))
    found: list[SentencePair] = []
    for begin in range(0, len(left), 64):
        some = left[begin : begin + 64]
        scores = cdist(some, right, scorer=Indel.normalized_similarity, score_cutoff=_NEAR, dtype=np.float32)
        found += [pairs[begin + index] for index in np.flatnonzero(scores.max(axis=1))]
    return found


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int = 1,
    dev_pairs: int = 500,
    test_pairs: int = 1000,
    train_pairs: int | None = None,
    min_words: int = 2,
    max_words: int = 60,
    downloads: Path | str | None = None,
) -> None:
    """Make the corpus: ``train``, ``dev`` and ``test`` below ``data_dir``, English to German.

    What was made from the same settings and packages is kept. ``origin.json`` says from which versions of
    the packages the pairs are, under which licences, and what was left out.

    Args:
        data_dir: Where to put it.
        nj: Not used: all pages take some seconds.
        seed: Decides which pages are in which set.
        dev_pairs: About how many pairs to set aside.
        test_pairs: Likewise.
        train_pairs: How many of the others to take (a smaller number gives a part of a larger one's); None: all.
        min_words: The fewest words a side may have.
        max_words: The most; longer paragraphs are taken sentence by sentence where both sides have as many.
        downloads: Where the packages are or will be; ``downloads`` beside ``data_dir`` if None.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The packages cannot be had or are not what they should be.
    """
    data_dir = Path(data_dir)
    sizes = {"test": whole("test_pairs", test_pairs), "dev": whole("dev_pairs", dev_pairs)}
    limits = Limits(whole("min_words", min_words), whole("max_words", max_words))
    if limits.min_words > limits.max_words:
        raise ConfigError(f"min_words is {min_words} and max_words {max_words}; expected the latter to be larger.")
    if train_pairs is not None:
        whole("train_pairs", train_pairs)
    folder = fetch_pages(Path(downloads) if downloads else data_dir.parent / "downloads")
    packages = packages_of(folder)
    print_ = fingerprint([_VERSION, _SHARED, _LARGEST, _NEAR], seed, sizes, train_pairs, min_words, max_words, packages)
    if is_made(data_dir, print_):
        print(f"{data_dir}: made already from the same pages and settings", file=sys.stderr)
        return

    pages = find_pages(folder)
    pairs, dropped = extract_pairs(pages, limits)
    if not pairs:
        raise DataError(f"{folder}: none of its {len(pages)} pages gives a pair; delete it to have it fetched again.")
    sets, repeated = split_pairs(pairs, sizes, seed, data_dir / "split.json")
    dropped["repeated"] = repeated
    near = {}
    for name, others in (("test", [*sets["train"], *sets["dev"]]), ("dev", sets["train"])):
        repeats = set(near_repeats(sets[name], others))
        near[name] = len(repeats)
        sets[name] = [pair for pair in sets[name] if pair not in repeats]
    if train_pairs is not None and train_pairs < len(sets["train"]):
        sets["train"] = random.Random(f"{seed} train").sample(sets["train"], len(sets["train"]))[:train_pairs]
    made_from: dict[str, Any] = {
        "settings": print_,
        "packages": packages,
        "pages": len(pages),
        "pairs": len(pairs),
        "dropped": dict(dropped.most_common()),
        "nearly_repeated": near,
    }
    print(f"{len(pairs)} pairs of {len(pages)} pages; left out:", file=sys.stderr)
    for reason, count in dropped.most_common():
        print(f"  {count} {reason}", file=sys.stderr)
    for name, count in near.items():
        print(f"  {count} of {name} nearly the same as in another set", file=sys.stderr)
    write_corpus(data_dir, sets, made_from)
