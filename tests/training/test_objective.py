from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from seqkd.training.objective import Objective

from seqkd.config import CONF
from seqkd.errors import ConfigError


def test_consistency_weight_rises_linearly_and_stays() -> None:
    objective = Objective(passes=2, consistency_weight=0.4, consistency_warmup=0.2)
    weights = [objective.consistency_weight_at(step, 100) for step in range(100)]
    assert weights[0] == pytest.approx(0.4 / 20)
    assert weights[9] == pytest.approx(0.2)
    assert weights[:20] == pytest.approx([0.4 * (step + 1) / 20 for step in range(20)])
    assert weights[20:] == [0.4] * 80


def test_consistency_weight_without_warm_up() -> None:
    objective = Objective(passes=2, consistency_weight=0.4, consistency_warmup=0.0)
    assert objective.consistency_weight_at(0, 100) == 0.4
    assert Objective(passes=2).consistency_weight_at(50, 100) == 0.0


def test_a_teacher_is_needed_for_its_term_only() -> None:
    assert Objective(kd_weight=0.5).needs_teacher
    assert not Objective(passes=2, consistency_weight=1.0).needs_teacher


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "cosine"}, "distance is 'cosine'; expected one of squared, kl"),
        ({"form": "sequence"}, "form is 'sequence'; expected one of frame, guided, best_path, delayed, intermediate"),
        ({"form": "guided", "passes": 2}, "form is 'guided', which takes one pass, but passes is 2"),
        ({"form": "intermediate"}, "form 'intermediate' and objective.tap, its layer, go together"),
        ({"max_delay": -1}, "max_delay is -1; expected at least 0"),
        ({"select": "blank"}, "select is 'blank'; expected one of all, nonblank"),
        ({"teacher_view": "masked"}, "teacher_view is 'masked'; expected one of clean, student"),
        ({"views": "different"}, "views is 'different'; expected one of same, independent"),
        ({"passes": 0}, "passes is 0; expected at least 1"),
        ({"kd_weight": -1.0}, "kd_weight is -1.0; expected at least 0"),
        ({"passes": 2, "consistency_weight": -0.1}, "consistency_weight is -0.1; expected at least 0"),
        ({"consistency_warmup": float("nan")}, "consistency_warmup is nan; expected at least 0"),
        ({"temperature": 0.0}, "temperature is 0.0; expected more than 0"),
        ({"consistency_weight": 0.2}, "consistency_weight is set, but one pass has nothing to agree with"),
    ],
)
def test_bad_values(options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Objective(**options)
    assert str(caught.value) == f"system.objective.{message}"


def test_the_settings_file_has_every_field_with_its_default() -> None:
    written = OmegaConf.to_container(OmegaConf.load(CONF / "asr" / "system" / "student.yaml").objective)
    assert Objective(**written) == Objective()
    assert written.keys() == Objective.__dataclass_fields__.keys()
