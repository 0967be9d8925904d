"""Long utterances: the aligner of 64 cells at a time, bands and strips, and the memory that they take."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqkd import native
from seqkd.scoring import fallback
from seqkd.scoring.align import align, compiled, number_tokens
from seqkd.scoring.words import FEWEST, SCLITE, Costs
from tests.scoring.corpora import spoil

SOURCES = Path(native.__file__).parent / "scoring"
COSTS = [FEWEST, SCLITE, Costs(1, 1, 1), Costs(3, 1, 1), Costs(1, 9, 2)]


def other_side(source: random.Random, kind: int, reference: list[int], words: list[int], longest: int) -> list[int]:
    at = source.randint(0, longest)
    if kind == 2:
        return source.choices(words, k=source.randint(0, longest))
    if kind == 3:
        return reference[::-1]
    if kind == 4:
        return reference[at:] + reference[:at]
    if kind == 5:
        return [word for word in reference for _ in range(source.randint(0, 2))]
    return spoil(source, reference, words, 0.1 if kind else source.choice([0.02, 0.3, 0.9]))


def pairs(source: random.Random, count: int, longest: int) -> tuple[list[list[int]], list[list[int]]]:
    """Of every kind: few errors and many, unrelated, turned round, shifted, repeated; few words and many."""
    references, hypotheses = [], []
    for number in range(count):
        words = list(range(source.choice([1, 2, 3, 30, 3000])))
        references.append(source.choices(words, k=source.randint(0, longest)))
        hypotheses.append(other_side(source, number % 6, references[-1], words, longest))
    return references, hypotheses


def check(references: list[list[int]], hypotheses: list[list[int]], costs: Costs) -> None:
    sides = number_tokens(references), number_tokens(hypotheses)
    counts, ops, offsets = fallback.align(*sides, costs, keep=True)
    ours = align(*sides, costs)
    np.testing.assert_array_equal(ours.counts, counts)
    np.testing.assert_array_equal(ours.offsets, offsets)
    np.testing.assert_array_equal(ours.ops, ops)
    np.testing.assert_array_equal(align(*sides, costs, keep=False).counts, counts)


@pytest.mark.parametrize("costs", COSTS, ids=str)
@pytest.mark.parametrize("longest", [20, 150, 500])
def test_every_way_through_the_aligner(costs, longest, small_limits, monkeypatch):
    monkeypatch.setattr(native, "library", lambda: small_limits)
    check(*pairs(random.Random(longest), {20: 300, 150: 48, 500: 12}[longest], longest), costs)


@pytest.mark.parametrize(("costs", "longest"), [(FEWEST, 300), (FEWEST, 1500), (SCLITE, 300), (SCLITE, 2600)])
def test_as_it_is_built(costs, longest):
    if compiled() is None:
        pytest.skip("the compiled part was not built")
    check(*pairs(random.Random(longest), 36 if longest < 1000 else 6, longest), costs)


@pytest.mark.parametrize("longest", [8, 40, 200])
def test_column_by_column_is_the_table(longest, monkeypatch):
    references, hypotheses = pairs(random.Random(longest), {8: 300, 40: 60, 200: 18}[longest], longest)
    sides = number_tokens(references), number_tokens(hypotheses)
    monkeypatch.setattr(fallback, "_LONG", 1 << 40)
    table = fallback.align(*sides, FEWEST, keep=True)
    monkeypatch.setattr(fallback, "_LONG", 0)
    for one, other in zip(table, fallback.align(*sides, FEWEST, keep=True), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(fallback.align(*sides, FEWEST, keep=False)[0], table[0])


def test_fifty_thousand_words_take_little_memory():
    """An alignment of 2.5 thousand million cells, in a process that may take 500 MB."""
    if compiled() is None:
        pytest.skip("the compiled part was not built")
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc to read the memory from")
    script = """
import random
from pathlib import Path
from seqkd.scoring import count, SCLITE
from tests.scoring.corpora import spoil
source = random.Random(0)
words = [f"w{i}" for i in range(5000)]
reference = source.choices(words, k=50_000)
hypothesis = " ".join(spoil(source, reference, words, 0.15))
done = count([" ".join(reference)], [hypothesis])
assert 6_000 < done.words.errors[0] < 9_000 < done.characters.errors[0] < 60_000
other = count([" ".join(reference)], [hypothesis], costs=SCLITE, characters=False)
assert done.words.errors[0] <= other.words.errors[0] < 9_000
count([" ".join(reference)], [" ".join(source.choices(words, k=50_000))], characters=False)
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=SOURCES.parents[1], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 500, f"{done.stdout.strip()} MiB"


def test_memory_of_the_fallback_is_limited(monkeypatch):
    """Strips of rows give what the whole table gives."""
    references, hypotheses = pairs(random.Random(1), 12, 60)
    sides = number_tokens(references), number_tokens(hypotheses)
    for costs in COSTS:
        whole = fallback.align(*sides, costs, keep=True)
        monkeypatch.setattr(fallback, "_CELLS", 64)
        monkeypatch.setattr(fallback, "_ALONE", 64)
        strips = fallback.align(*sides, costs, keep=True)
        monkeypatch.undo()
        for one, other in zip(whole, strips, strict=True):
            np.testing.assert_array_equal(one, other)
