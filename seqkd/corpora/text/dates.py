"""Made-up parallel text, English to German, as much as is wanted: dates, times, amounts and numbers.

Which translation of a phrase is shown is drawn with known probabilities (``dates_phrases``), so the corpus
has an answer to how sure a model should be: ``origin.json`` gives the least negative log-likelihood that any
model can reach, and ``<set>.renderings.jsonl`` every translation of every phrase with its probability.
Sets share no content: what a model is tested on is a date or a number it has not seen.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from seqkd.corpora.corpus import check_keys, plain
from seqkd.corpora.text.dates_phrases import Phrase, draw_phrase
from seqkd.corpora.text.parallel import is_made, whole, write_corpus
from seqkd.errors import ConfigError, DataError
from seqkd.files import write_text
from seqkd.translation.pairs import SentencePair
from seqkd.uptodate import fingerprint

_VERSION = 1  # raise it when the same settings give other pairs
_SHARES = {"dev": 0.1, "test": 0.2}  # of all contents; train has the others


def split_of(content: str, seed: int) -> str:
    """Return the split that a content belongs to: train, dev or test, the same in every corpus of this seed."""
    place = int.from_bytes(hashlib.sha256(f"{seed} {content}".encode()).digest()[:8], "big") / 2**64
    for split, share in _SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def draw_phrases(split: str, seed: int, name: str) -> Iterator[Phrase]:
    """Yield phrases whose contents belong to a split, without end."""
    rng = random.Random(f"{seed} {name}")
    while True:
        phrase = draw_phrase(rng)
        if split_of(phrase.content, seed) == split:
            yield phrase


def _check_sets(sets: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Return how many pairs every set has, and its split."""
    checked: dict[str, tuple[int, str]] = {}
    if not sets:
        raise ConfigError("The corpus has no sets; name at least one under `sets`.")
    for name, settings in sets.items():
        if not name.replace("_", "").replace("-", "").isalnum():
            raise ConfigError(f"{name!r} cannot name a set; use letters, digits, '-' and '_'.")
        if not isinstance(settings, dict):
            raise ConfigError(f"Set {name!r} is {settings!r}, expected settings.")
        check_keys(f"Set {name!r}", settings, ("pairs", "split"))
        split = settings.get("split", name)
        if split not in ("train", *_SHARES):
            raise ConfigError(f"Set {name!r}: split is {split!r}, expected one of train, {', '.join(_SHARES)}.")
        checked[name] = (whole(f"Set {name!r}: pairs", settings.get("pairs")), split)
    return checked


def make_corpus(data_dir: Path | str, *, nj: int, seed: int, sets: Mapping[str, Any]) -> None:
    """Make the corpus: a directory of pairs for every set. What was made from the same settings is kept.

    Args:
        data_dir: Where to put it.
        nj: Not used: a thousand pairs take a fraction of a second.
        seed: Decides everything that is random.
        sets: Settings by set name: ``pairs``, how many, and ``split`` (train, dev or test; without it the
            set's name is its split). A set's pairs do not depend on the other sets.

    Raises:
        ConfigError: A setting is wrong; the message names it and what was expected.
        DataError: Babel or num2words is not installed.
    """
    try:
        import babel
        import num2words  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise DataError(f"{error.name} is not installed; it comes with pip install 'seqkd[synth]'.") from error
    from importlib.metadata import version

    from seqkd.progress import ProgressBar

    data_dir = Path(data_dir)
    checked = _check_sets(plain(sets))
    versions = {"babel": babel.__version__, "num2words": version("num2words")}
    print_ = fingerprint(_VERSION, seed, checked, versions)
    if is_made(data_dir, print_):
        print(f"{data_dir}: made already from the same settings", file=sys.stderr)
        return
    made: dict[str, list[SentencePair]] = {}
    least: dict[str, float] = {}
    total = sum(count for count, _ in checked.values())
    with ProgressBar(total=total, desc="dates", unit="pair") as bar:
        for name, (count, split) in checked.items():
            rng = random.Random(f"{seed} {name} renderings")
            made[name], lines, least[name] = [], [], 0.0
            for number, phrase in enumerate(islice(draw_phrases(split, seed, name), count), start=1):
                made[name].append(SentencePair(f"{name}-{number:07d}", phrase.english, phrase.draw(rng)))
                renderings = {text: round(weight, 9) for weight, text in phrase.german}
                lines.append(json.dumps({"id": made[name][-1].id, "renderings": renderings}, ensure_ascii=False))
                least[name] += phrase.entropy / count
                bar.update()
            write_text(data_dir / f"{name}.renderings.jsonl", "".join(f"{line}\n" for line in lines))
    write_corpus(data_dir, made, {"settings": print_, "versions": versions, "least_nll_per_pair": least})
