"""docs/consistency.md is what local/consistency_page.py makes of the numbers there are, and that is right."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = str(ROOT / "local" / "consistency_page.py")
KINDS = ("substitution", "deletion", "insertion")


def test_the_page_is_up_to_date():
    made = runpy.run_path(SCRIPT)
    text = made["page"](made["rows"]())
    assert (ROOT / "docs" / "consistency.md").read_text(encoding="utf-8") == text, "run local/consistency_page.py"


def test_shares_kinds_and_conclusion(tmp_path, monkeypatch):
    """Of phrases alone: a tenth fewer errors than one pass, and a twentieth more than two."""
    names = {"arm_cons_kd": 0.09, "arm_kd": 0.1, "arm_long": 0.08, "arm_two_pass": 0.086}
    measures = {"wer": {"name": "WER", "unit": "%", "scale": 100, "decimals": 2, "higher_is_better": False}}
    systems = {
        name: {
            "wer": {"value": rate, "ci95": None, "by_seed": {"0": rate, "1": rate}},
            **{f"{kind}_rate": {"value": rate * part} for kind, part in zip(KINDS, (0.5, 0.3, 0.2), strict=True)},
        }
        for name, rate in names.items()
    }
    one = {"system": "arm_cons_kd", "measure": "wer", "holm": True, "items_only": False}
    compared = [
        {**one, "other": "arm_kd", "delta": -0.01, "ci95": [-0.02, -0.005], "p_value": 0.0004},
        {**one, "other": "arm_long", "delta": 0.01, "ci95": [0.004, 0.02], "p_value": 0.003},
        {**one, "other": "arm_two_pass", "delta": 0.0043, "ci95": [-0.001, 0.01], "p_value": 0.2},
    ]
    made = runpy.run_path(SCRIPT)
    monkeypatch.setitem(made["rows"].__globals__, "ROOT", tmp_path)
    path = tmp_path / made["PHRASES"]
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"schema": 1, "title": "", "measures": measures, "systems": systems, "comparisons": compared})
    )
    rows = made["rows"]()
    assert [regime.system for regime, *_ in rows] == ["arm_cons_kd"]
    text = made["page"](rows)
    assert (
        "| 2 | −10.0 % [−20.0, −5.0], p < .001 | +12.5 % [+5.0, +25.0], p = .003 | +5.0 % [−1.2, +11.6], p = .200 |"
        in text
    )
    assert "| 4.30 → 4.50 | 2.58 → 2.70 | 1.72 → 1.80 |" in text
    assert text.count("fewer errors in 1 and more in 0 of 1") == text.count("fewer errors in 0 and more in 1 of 1") == 1
    assert made["draw"](rows).axes[0].get_yticklabels()[0].get_text() == rows[0][0].name


def test_one_seed_is_labelled_and_counts_for_nothing():
    effect = runpy.run_path(SCRIPT)["Effect"](-0.1, -0.2, -0.05, 0.0004, items_only=True)
    assert str(effect) == "−10.0 % [−20.0, −5.0], p < .001 (items only)" and not effect.significant


@pytest.mark.parametrize("share", [-0.039, 0.05])
def test_an_effect_is_written_with_its_interval(share):
    text = str(runpy.run_path(SCRIPT)["Effect"](share, share - 0.01, share + 0.02, 0.004))
    assert text == ("−3.9 % [−4.9, −1.9], p = .004" if share < 0 else "+5.0 % [+4.0, +7.0], p = .004")
