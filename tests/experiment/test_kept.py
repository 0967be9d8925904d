"""Kept estimates are those that would be made now, bit for bit, and are made anew when anything they follow from is."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from seqkd.errors import DataError
from seqkd.experiment import kept
from seqkd.experiment.kept import estimate_once
from seqkd.experiment.report import write_report
from seqkd.statistics.bootstrap import Estimate, estimate
from seqkd.statistics.measures import Measure, ece, ratio
from seqkd.statistics.table import Table
from seqkd.tasks.asr.scores import AsrScores
from tests.experiment.report_experiment import make_references, make_run, settings

WER = Measure("wer", "WER", ("errors", "words"), ratio)
ECE = Measure("ece", "ECE", ("bins",), ece, reflect=True)


def half(part: np.ndarray, whole: np.ndarray, *, share: float = 0.5) -> np.ndarray:
    return ratio(share * part, whole)


def made(items: int = 40, seed: int = 0) -> Table:
    generator = np.random.default_rng(seed)
    words = generator.integers(1, 9, items)
    columns = {"errors": generator.binomial(words, 0.3), "words": words, "bins": generator.random((items, 3, 4))}
    return Table(tuple(f"u{number}" for number in range(items)), columns)


@pytest.fixture
def systems() -> dict[str, dict[int, Table]]:
    return {"student": {0: made(seed=1), 1: made(seed=2)}, "kd": {0: made(seed=3)}}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the replicates of every estimate that is made, not read."""
    asked: list[int] = []

    def counted(*args, replicates: int, **kwargs) -> dict[str, dict[str, Estimate]]:
        asked.append(replicates)
        return estimate(*args, replicates=replicates, **kwargs)

    monkeypatch.setattr(kept, "estimate", counted)
    return asked


def same(found: dict[str, dict[str, Estimate]], other: dict[str, dict[str, Estimate]]) -> bool:
    assert list(found) == list(other)
    for name in found:
        assert list(found[name]) == list(other[name])
        for key, one in found[name].items():
            assert one.measure is other[name][key].measure and one.seeds == other[name][key].seeds
            assert list(one.seeds) == list(other[name][key].seeds)
            assert one.replicates.tobytes() == other[name][key].replicates.tobytes()
    return True


def test_what_is_read_is_what_was_drawn_bit_for_bit(tmp_path, systems, calls):
    first = estimate_once(tmp_path / "kept", systems, [WER, ECE], replicates=50)
    again = estimate_once(tmp_path / "kept", systems, [WER, ECE], replicates=50)
    assert calls == [50]
    assert same(again, first) and same(again, estimate(systems, [WER, ECE], replicates=50))
    assert again["kd"]["ece"].ci95 == first["kd"]["ece"].ci95
    # How a measure is shown is the task's affair, now as then.
    shown = estimate_once(tmp_path / "kept", systems, [replace(WER, name="Errors"), ECE], replicates=50)
    assert shown["kd"]["wer"].measure.name == "Errors" and calls == [50]


def test_an_undefined_value_is_kept_too(tmp_path, calls):
    nothing = {"a": {0: Table(("u",), {"errors": np.zeros(1), "words": np.zeros(1)})}}
    for _ in range(2):
        assert np.isnan(estimate_once(tmp_path, nothing, [WER], replicates=5)["a"]["wer"].value)
    assert calls == [5]


def with_other_errors(systems):
    table = systems["kd"][0]
    errors = table.columns["errors"].copy()
    # Two items change places: all sums, and so all values, are as they were.
    one, other = np.argmin(errors), np.argmax(errors)
    errors[[one, other]] = errors[[other, one]]
    return {**systems, "kd": {0: Table(table.ids, {**table.columns, "errors": errors})}}


def with_other_ids(systems):
    return {
        name: {seed: Table(tuple(f"v{one}" for one in table.ids), table.columns) for seed, table in seeds.items()}
        for name, seeds in systems.items()
    }


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda systems: {"systems": with_other_errors(systems)}, id="a table"),
        pytest.param(lambda systems: {"systems": with_other_ids(systems)}, id="the items"),
        pytest.param(lambda systems: {"systems": dict(reversed(systems.items()))}, id="the order of systems"),
        pytest.param(lambda systems: {"systems": {"student": systems["student"]}}, id="which systems"),
        pytest.param(lambda systems: {"systems": {**systems, "kd": {4: systems["kd"][0]}}}, id="the number of a seed"),
        pytest.param(lambda systems: {"measures": [WER]}, id="which measures"),
        pytest.param(lambda systems: {"measures": [WER, replace(ECE, key="other")]}, id="the key of a measure"),
        pytest.param(lambda systems: {"measures": [replace(WER, of=half), ECE]}, id="its function"),
        pytest.param(
            lambda systems: {"measures": [replace(WER, columns=("words", "errors")), ECE]}, id="the order of columns"
        ),
        pytest.param(lambda systems: {"replicates": 60}, id="replicates"),
        pytest.param(lambda systems: {"seed": 1}, id="the seed"),
    ],
)
def test_a_change_is_estimated_anew(tmp_path, systems, calls, changed):
    usual = {"systems": systems, "measures": [WER, ECE], "replicates": 50, "seed": 0}
    before = estimate_once(tmp_path, **usual)
    now = {**usual, **changed(systems)}
    found = estimate_once(tmp_path, **now)
    assert len(calls) == 2 and same(found, estimate(**now))
    assert same(estimate_once(tmp_path, **usual), before) and len(calls) == 2  # that one is still there


def test_what_a_function_is_given_counts(tmp_path, systems, calls):
    for share in (0.5, 0.25, 0.5):
        measure = replace(WER, of=partial(half, share=share))
        found = estimate_once(tmp_path, systems, [measure], replicates=20)
        assert same(found, estimate(systems, [measure], replicates=20))
    assert len(calls) == 2


def test_a_function_without_a_name_of_its_own_is_not_trusted(tmp_path, systems, calls):
    for share in (0.5, 0.25):
        measure = replace(WER, of=lambda part, whole, share=share: ratio(share * part, whole))
        found = estimate_once(tmp_path, systems, [measure], replicates=20)
        assert same(found, estimate(systems, [measure], replicates=20))
    assert len(calls) == 2 and not list(tmp_path.iterdir())


def test_other_code_is_another_estimate(tmp_path, systems, calls, monkeypatch):
    estimate_once(tmp_path, systems, [WER], replicates=20)
    for name, value in (("VERSION", kept.VERSION + 1), ("_sources", lambda modules: ["other code"])):
        monkeypatch.setattr(kept, name, value)
        estimate_once(tmp_path, systems, [WER], replicates=20)
    monkeypatch.setattr(np, "__version__", "0")
    estimate_once(tmp_path, systems, [WER], replicates=20)
    assert len(calls) == 4


def test_the_code_is_that_which_draws_and_that_which_measures(tmp_path, monkeypatch):
    def digests(*modules: str) -> list[str] | None:
        return kept._sources([type("Module", (), {"__file__": module}) for module in modules])

    mine = tmp_path / "mine.py"
    mine.write_text("a = 1\n")
    before = digests(str(mine))
    assert digests(str(mine)) == before and len(before) > 5
    mine.write_text("a = 2\n")
    assert digests(str(mine)) != before
    assert digests(str(tmp_path / "none.py")) is None
    statistics = tmp_path / "statistics"
    statistics.mkdir()
    for file in Path(kept.statistics.__file__).parent.glob("*.py"):
        (statistics / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(kept.statistics, "__file__", str(statistics / "__init__.py"))
    before = digests(str(mine))
    with (statistics / "bootstrap.py").open("a") as file:
        file.write("# another draw\n")
    assert digests(str(mine)) != before


def test_a_measure_that_gives_other_values_of_the_same_sums_is_noticed(tmp_path, systems, calls, monkeypatch):
    """Its own file is as it was, but a function elsewhere that it calls is not."""
    measure = replace(WER, of=half)
    estimate_once(tmp_path, systems, [measure], replicates=20)
    monkeypatch.setitem(globals(), "ratio", lambda part, whole: part / (whole + 1))
    found = estimate_once(tmp_path, systems, [measure], replicates=20)
    assert len(calls) == 2 and same(found, estimate(systems, [measure], replicates=20))


@pytest.mark.parametrize("damage", ["empty", "torn", "a byte", "foreign", "of text", "fewer", "a directory"])
def test_damage_is_estimated_anew_and_mended(tmp_path, systems, calls, damage):
    first = estimate_once(tmp_path, systems, [WER, ECE], replicates=50)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "torn":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "a byte":
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif damage == "foreign":
        np.savez(file, other=np.zeros(3))
    elif damage == "of text":
        np.savez(file, values=np.array(["a"]), replicates=np.array("b"))
    elif damage == "fewer":
        np.savez(file, values=np.zeros(6), replicates=np.zeros((4, 49)))
    else:
        file.unlink()
        (file / "in the way").mkdir(parents=True)
    assert same(estimate_once(tmp_path, systems, [WER, ECE], replicates=50), first)
    assert len(calls) == 2
    if damage != "a directory":
        assert same(estimate_once(tmp_path, systems, [WER, ECE], replicates=50), first) and len(calls) == 2


def test_no_pickle_is_read(tmp_path, systems, calls):
    estimate_once(tmp_path, systems, [WER], replicates=20)
    (file,) = tmp_path.iterdir()
    np.savez(file, values=np.array([print], object), replicates=np.zeros((2, 20)))
    estimate_once(tmp_path, systems, [WER], replicates=20)
    assert len(calls) == 2


def test_the_oldest_go(tmp_path, systems, calls):
    for number in range(kept.KEPT + 3):
        estimate_once(tmp_path, systems, [WER], replicates=10, seed=number)
        newest = max(tmp_path.glob("*.npz"), key=lambda file: file.stat().st_ctime_ns)
        os.utime(newest, ns=(0, number * 10**9))
    assert len(list(tmp_path.iterdir())) == kept.KEPT
    estimate_once(tmp_path, systems, [WER], replicates=10, seed=kept.KEPT + 2)
    assert len(calls) == kept.KEPT + 3
    estimate_once(tmp_path, systems, [WER], replicates=10, seed=0)
    assert len(calls) == kept.KEPT + 4


def test_a_place_that_cannot_be_written_costs_time_only(tmp_path, systems, calls):
    (tmp_path / "file").write_text("")
    for _ in range(2):
        found = estimate_once(tmp_path / "file" / "kept", systems, [WER], replicates=20)
        assert same(found, estimate(systems, [WER], replicates=20))
    assert len(calls) == 2


def test_what_is_wrong_is_said_as_ever(tmp_path, systems):
    with pytest.raises(DataError, match="on different test items"):
        estimate_once(tmp_path, {**systems, "kd": {0: made(items=30)}}, [WER], replicates=20)
    assert not list(tmp_path.iterdir())


def test_a_second_report_draws_nothing_and_one_of_another_decoding_does(tmp_path, calls):
    references = make_references(tmp_path / "data", ["test"], utterances=40)
    for name, rate in (("student", 0.2), ("kd", 0.1)):
        make_run(tmp_path / "exp" / name / "seed0", references, rate, seed=0)
    cfg = settings(tmp_path, ["test"], replicates=200)

    def report() -> str:
        write_report(AsrScores(), cfg, {"student": {}, "kd": {"control": "student"}}, "run", environment={})
        return (tmp_path / "RESULTS.md").read_text()

    first, drawn = report(), list(calls)
    assert drawn[0] == 200 and report() == first and calls == drawn
    decoded = tmp_path / "exp" / "kd" / "seed0" / "decode_test" / "text"
    lines = decoded.read_text().splitlines()
    decoded.write_text("\n".join([f"{lines[0]} eight", *lines[1:]]) + "\n")  # one error more
    changed = report()
    assert changed != first and len(calls) > len(drawn)
    for file in (tmp_path / "exp" / ".estimates").iterdir():
        file.unlink()
    assert report() == changed
