"""Tables of sums: totals, draws, joining, and their file."""

import numpy as np
import pytest

from seqkd.errors import DataError
from seqkd.statistics.table import Table, same_items


def some_table(ids="abc", width=2, seed=0):
    generator = np.random.default_rng(seed)
    count = len(ids)
    return Table(tuple(ids), {"errors": generator.integers(0, 5, count), "bins": generator.random((count, 3, width))})


def test_totals_and_draws_are_sums_over_items():
    table = some_table()
    weights = np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    drawn = table.drawn(weights)
    for name, column in table.columns.items():
        assert table.total()[name] == pytest.approx(column[0] + column[1] + column[2])
        assert drawn[name][0] == pytest.approx(2 * column[0] + column[2])
        assert drawn[name][1] == pytest.approx(table.total()[name])
        assert drawn[name].shape == (2, *column.shape[1:])


def test_test_sets_are_joined():
    first, second = some_table("ab", seed=1), some_table("bc", seed=2)
    joined = Table.joined({"clean": first, "noisy": second})
    assert joined.ids == ("clean/a", "clean/b", "noisy/b", "noisy/c")
    for name in first.columns:
        assert joined.total()[name] == pytest.approx(first.total()[name] + second.total()[name])
    with pytest.raises(DataError, match="Test set noisy was counted otherwise than the others"):
        Table.joined({"clean": first, "noisy": some_table("bc", width=4)})


def test_a_part_and_rows():
    table = some_table("abcd")
    part = table.part(np.array([2, 0]))
    assert part.ids == ("c", "a")
    assert (part.columns["bins"] == table.columns["bins"][[2, 0]]).all()
    rows = {key: {name: column[place] for name, column in table.columns.items()} for place, key in enumerate("abcd")}
    again = Table.of_rows(rows)
    assert again.ids == table.ids and (again.columns["bins"] == table.columns["bins"]).all()
    assert same_items([table, again]) and not same_items([table, part])


def test_the_file(tmp_path):
    table = Table(("ä b", "c"), {"errors": np.array([1, 2]), "bins": np.ones((2, 3, 4))})
    table.save(tmp_path / "counts.npz")
    again = Table.load(tmp_path / "counts.npz")
    assert again.ids == table.ids
    assert again.columns.keys() == table.columns.keys()
    assert all((again.columns[name] == column).all() for name, column in table.columns.items())
    assert [path.name for path in tmp_path.iterdir()] == ["counts.npz"]


def pickled(path):
    np.savez(path, ids=np.array(["a"], object), errors=np.ones(1))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(b""),
        lambda path: np.savez(path, errors=np.ones(2)),
        pickled,
    ],
    ids=["missing", "cut off", "empty", "without ids", "with pickles"],
)
def test_files_that_cannot_be_read(tmp_path, spoil):
    path = tmp_path / "counts.npz"
    some_table().save(path)
    spoil(path)
    with pytest.raises(DataError, match=r"counts\.npz is missing or damaged .*; score again"):
        Table.load(path)


@pytest.mark.parametrize(
    ("ids", "columns", "sentence"),
    [
        (("a", "a"), {}, "1 of 2 items are in the table twice"),
        (("a", "b"), {"errors": np.ones(3)}, r"'errors' has shape \(3,\); expected 2 rows"),
        (("a",), {"ids": np.ones(1)}, "Column 'ids'"),
    ],
)
def test_what_does_not_fit(ids, columns, sentence):
    with pytest.raises(DataError, match=sentence):
        Table(ids, columns)
