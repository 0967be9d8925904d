"""Old names of modules and classes go on working, with a warning."""

import importlib
import sys

import pytest

from seqkd.moved import MOVED

NEEDS = {"shots.export_otio": "opentimelineio"}


@pytest.mark.parametrize("old", MOVED)
def test_the_old_name_is_the_new_module(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if old in NEEDS:
        pytest.importorskip(NEEDS[old])
    new = importlib.import_module(f"seqkd.{MOVED[old]}")
    monkeypatch.delitem(sys.modules, f"seqkd.{old}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"seqkd.{old} is now seqkd.{MOVED[old]};"):
        assert importlib.import_module(f"seqkd.{old}") is new
    assert new.__spec__.name == f"seqkd.{MOVED[old]}"


def test_the_old_name_of_a_class() -> None:
    from seqkd import decoding

    with pytest.warns(DeprecationWarning, match=r"seqkd.decoding.Hypothesis is now CtcHypothesis"):
        assert decoding.Hypothesis is decoding.CtcHypothesis
    with pytest.raises(AttributeError, match="no attribute 'Hypotheses'"):
        _ = decoding.Hypotheses
