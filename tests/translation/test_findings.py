"""The sentences of a report follow from the numbers, whatever these are."""

import numpy as np
import pytest

from seqkd.translation.bootstrap import Estimate
from seqkd.translation.comparisons import Roles, compare, count_tests, findings
from seqkd.translation.experiment import TranslationExperiment, TranslationRun, TranslationSystem
from seqkd.translation.measures import MEASURES

RUN = TranslationRun(0, {}, [], {"steps": 100, "passes": 1}, {})


def story(clear=True, controls=None, **values):
    """The findings about systems of given (BLEU, ECE %, inference ECE %); differences are clear or drown in noise."""
    noise = 0.01 if clear else 3.0
    generator = np.random.default_rng(0)
    controls = controls or {}
    systems = {
        name: TranslationSystem(
            name, name.title(), controls.get(name), "the prior" if controls else None, [RUN] * 2, []
        )
        for name in values
    }
    experiment = TranslationExperiment(systems, {"test": 10}, {"bleu": "b", "chrf": "c"}, "edit", 15)
    estimates = {}
    for name, (bleu, ece, inference) in values.items():
        known = {"bleu": bleu, "ece": ece / 100, "inference_ece": inference / 100}
        estimates[name] = {}
        for measure in MEASURES:
            value = known.get(measure.key, 1.0)
            spread = noise * (0.01 if measure.scale == 100 else 1)
            estimates[name][measure.key] = Estimate(
                measure, np.full(2, value), value + spread * generator.standard_normal(400)
            )
    roles = Roles()
    comparisons = compare(experiment, roles, estimates)
    return " ".join(findings(experiment, roles, estimates, comparisons)), comparisons


@pytest.mark.parametrize(
    ("clear", "values", "says"),
    [
        (True, {"none": (20, 8, 9), "uniform": (21, 4, 5), "adaptive": (22, 3, 4)}, "p = .005: best. "),
        (
            False,
            {"none": (20, 8, 9), "uniform": (21, 4, 5), "adaptive": (22, 3, 4)},
            ": best, though not shown to be better than **Uniform**. ",
        ),
        (
            False,
            {"none": (20, 8, 9), "uniform": (22, 4, 5), "adaptive": (21.9, 3, 4)},
            "**Uniform** has the highest BLEU, 22.00; **Adaptive** has 21.90, a difference of −0.10",
        ),
        (
            False,
            {"none": (20, 8, 9), "uniform": (22, 4, 5), "adaptive": (21.9, 3, 4)},
            "tied, for no difference from **Uniform** is shown. ",
        ),
        (True, {"none": (20, 8, 9), "uniform": (22, 4, 5), "adaptive": (21, 3, 4)}, "p = .005: worse. "),
        (
            True,
            {"none": (20, 8, 9), "adaptive": (22, 3, 4)},
            "a teacher-forced ECE of 3.00 %, **None** of 8.00 %: 38 % of it, halved. ",
        ),
        (
            True,
            {"none": (20, 8, 9), "adaptive": (22, 3, 6)},
            "an inference ECE of 6.00 %, **None** of 9.00 %: 67 % of it, lower but not halved. ",
        ),
        (
            False,
            {"none": (20, 8, 9), "adaptive": (22, 3.9, 6)},
            ": 49 % of it, halved, though not clearly below one half. ",
        ),
        (
            False,
            {"none": (20, 8, 9), "adaptive": (22, 4.1, 6)},
            ": 51 % of it, lower but not halved, though not clearly above one half. ",
        ),
        (True, {"none": (20, 2, 9), "adaptive": (22, 3, 9)}, ": 150 % of it, not lower. "),
        (True, {"none": (20, 8, 9), "adaptive": (22, 3, 6)}, "ECE of **None**, is met in both. "),
        (True, {"none": (20, 8, 9), "adaptive": (22, 6, 6)}, "ECE of **None**, is met in BLEU only. "),
        (True, {"none": (23, 8, 9), "adaptive": (22, 2, 6)}, "ECE of **None**, is met in ECE only. "),
        (True, {"none": (23, 8, 9), "adaptive": (22, 6, 6)}, "ECE of **None**, is not met. "),
        (
            True,
            {"none": (20, 8, 9), "uniform": (21, 9, 9.5)},
            "**Uniform** against **None**: +1.00 BLEU (p = .005), +1.00 points of ECE (p = .005), +0.50 points of "
            "inference ECE (p = .005): a gain in BLEU is shown; a loss in ECE is shown.",
        ),
        (
            False,
            {"none": (20, 8, 9), "uniform": (20.5, 7.5, 9)},
            "no gain in BLEU is shown; no gain in ECE is shown.",
        ),
    ],
)
def test_verdicts(clear, values, says):
    text, _ = story(clear, **values)
    assert says in text + " "


def test_the_control_decides():
    text, comparisons = story(
        controls={"uniform": "none", "adaptive": "uniform"},
        none=(20, 8, 9), uniform=(21, 4, 5), adaptive=(21.5, 3, 4),
    )  # fmt: skip
    assert (
        "**Adaptive** against its equal-budget control, **Uniform**: +0.50 BLEU (p = .005), −1.00 points of ECE "
        "(p = .005), −1.00 points of inference ECE (p = .005): from the prior, a gain in BLEU is shown" in text
    )
    assert set(comparisons) == {("uniform", "none"), ("adaptive", "none"), ("adaptive", "uniform")}
    assert count_tests(comparisons) == 18


def test_a_control_that_was_not_run():
    text, comparisons = story(controls={"adaptive": "absent"}, none=(20, 8, 9), adaptive=(21.5, 3, 4))
    assert "**Adaptive** against **None**: +1.50 BLEU" in text
    assert "Its control, **absent**, was not run." in text
    assert list(comparisons) == [("adaptive", "none")]


def test_mutual_baselines_count_once():
    _, comparisons = story(
        controls={"uniform": "ema", "ema": "uniform"}, none=(20, 8, 9), uniform=(21, 4, 5), ema=(22, 4, 5)
    )
    assert len(comparisons) == 4
    assert count_tests(comparisons) == 18
    one, other = (comparisons[pair]["bleu"] for pair in (("uniform", "ema"), ("ema", "uniform")))
    assert one.difference.delta == -other.difference.delta
    assert one.survives == other.survives


def test_holm_takes_back_what_is_one_among_many():
    """p = .005 of 6 comparisons survives, of 42 it does not."""
    few, _ = story(none=(20, 8, 9), adaptive=(22, 3, 4))
    assert "does not survive" not in few
    many, comparisons = story(
        none=(20, 8, 9), adaptive=(22, 3, 4), **{f"system{index}": (21, 8, 9) for index in range(8)}
    )
    assert count_tests(comparisons) > 42
    assert "a gain in BLEU is shown, which does not survive Holm's correction" in many
