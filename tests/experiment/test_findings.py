"""The sentences of a report follow from the numbers, whatever these are, and know the measure and its direction."""

from pathlib import Path

import numpy as np
import pytest

from seqkd.experiment.findings import compare, count_tests, findings, share_kept
from seqkd.experiment.read import Experiment, Run, System
from seqkd.experiment.scores import Monitor, Scores
from seqkd.statistics.bootstrap import Estimate
from seqkd.statistics.measures import Measure, ratio

WER = Measure("wer", "WER", ("errors", "words"), ratio, unit="%", scale=100)
BLEU = Measure("bleu", "BLEU", ("bleu",), ratio, higher_is_better=True)
ECE = Measure("ece", "ECE", ("bins",), ratio, unit="%", scale=100, tested=True)
CER = Measure("cer", "CER", ("errors", "words"), ratio)  # shown, not tested


class Made(Scores):
    monitor = Monitor("dev", "dev")

    def __init__(self, *measures, baseline=None):
        self.measures, self.baseline = measures, baseline


def experiment(measures, values, *, clear=True, controls=None, baseline=None, steps=None, seeds=2):
    """Systems of given values, by measure in order; differences are clear or drown in noise."""
    generator = np.random.default_rng(0)
    runs = {
        name: [
            Run(seed, Path(), {}, [], {"steps": (steps or {}).get(name, 100), "passes": 1}, {}) for seed in range(seeds)
        ]
        for name in values
    }
    controls = controls or {}
    systems = {
        name: System(name, name.title(), controls.get(name), "the idea" if name in controls else None, runs[name], [])
        for name in values
    }
    made = Experiment(Made(*measures, baseline=baseline), systems, ["test"], baseline)
    estimates = {}
    for name, numbers in values.items():
        estimates[name] = {}
        for measure, value in zip(measures, numbers, strict=True):
            noise = generator.standard_normal(400) * (0.01 if clear else 3.0) / measure.scale
            estimates[name][measure.key] = Estimate(measure, dict.fromkeys(range(seeds), value), value + noise)
    made.__dict__["estimates"] = estimates  # in place of those of tables
    return made


def said(*args, **kwargs):
    made = experiment(*args, **kwargs)
    return " ".join(findings(made, compare(made)))


SPEECH = {"teacher": (0.03,), "student": (0.16,), "kd": (0.10,)}


def test_errors():
    text = said([WER], SPEECH, controls={"kd": "student"}, baseline="kd")
    assert "**Teacher** has 3.00 % WER, **Student** 16.00 %: a lead of 13.00 points of WER." in text
    assert (
        "**Kd** has 6.00 points of WER less than its equal-budget control, **Student** (37.5 % relative, p = .005): a "
        "gain from the idea is shown. It keeps 46 % of the teacher's lead." in text
    )
    assert "**Student** has" not in text  # the other way round


def test_scores_whose_more_is_better():
    values = {"teacher": (30.0,), "student": (20.0,), "kd": (25.0,), "worse": (18.0,)}
    text = said([BLEU], values, controls={"kd": "student", "worse": "student"})
    assert "**Teacher** has 30.00 BLEU, **Student** 20.00: a lead of 10.00 BLEU." in text
    assert (
        "**Kd** has 5.00 BLEU more than its equal-budget control, **Student** (p = .005): a gain from the idea is "
        "shown. It keeps 50 % of the teacher's lead." in text
    )
    assert "**Worse** has 2.00 BLEU less than" in text
    assert "a loss from the idea is shown. It keeps nothing of the teacher's lead." in text


def test_differences_within_the_noise():
    text = said([WER], SPEECH, clear=False, controls={"kd": "student"})
    assert ": no difference from the idea is shown." in text


def test_a_teacher_that_is_not_ahead():
    made = experiment([WER], {"teacher": (0.2,), "student": (0.2,), "kd": (0.1,)}, controls={"kd": "student"})
    text = " ".join(findings(made, compare(made)))
    assert "**Student** 20.00 %: the teacher is not ahead, so there is no lead to keep." in text
    assert share_kept(made, "kd") is None
    assert "keeps" not in text


def test_the_control_decides_and_the_baseline_follows():
    values = {"student": (0.16,), "kd": (0.10,), "kd_2": (0.11,), "cons": (0.09,)}
    made = experiment([WER], values, controls={"cons": "kd_2"}, baseline="kd")
    comparisons = compare(made)
    assert set(comparisons) == {("student", "kd"), ("kd_2", "kd"), ("cons", "kd"), ("cons", "kd_2")}
    text = " ".join(findings(made, comparisons))
    assert (
        "**Cons** has 2.00 points of WER less than its equal-budget control, **Kd_2** (18.2 % relative, p = .005): a "
        "gain from the idea is shown. It has 1.00 points of WER less than **Kd** (10.0 % relative, p = .005)." in text
    )
    assert (
        "**Kd_2** has 1.00 points of WER more than the baseline, **Kd** (10.0 % relative, p = .005): a loss is" in text
    )


def test_several_measures_are_sorted_by_what_is_shown():
    values = {"none": (20.0, 0.08, 1.0), "uniform": (21.0, 0.09, 2.0)}
    made = experiment([BLEU, ECE, CER], values, controls={"uniform": "none"})
    comparisons = compare(made)
    assert list(comparisons["uniform", "none"]) == ["bleu", "ece"]
    assert count_tests(comparisons) == 2
    text = " ".join(findings(made, comparisons))
    assert "from the idea, a gain is shown in BLEU; a loss is shown in ECE." in text
    unclear = said(
        [BLEU, ECE], {"none": (20, 0.08), "uniform": (20.1, 0.081)}, clear=False, controls={"uniform": "none"}
    )
    assert "from the idea, no difference is shown in BLEU and ECE." in unclear


def test_the_teacher_is_not_compared_with_the_baseline():
    assert compare(experiment([WER], SPEECH, baseline="kd")).keys() == {("student", "kd")}


def test_mutual_baselines_count_once():
    made = experiment([WER], {"a": (0.2,), "b": (0.1,)}, controls={"a": "b", "b": "a"})
    comparisons = compare(made)
    assert len(comparisons) == 2 and count_tests(comparisons) == 1
    one, other = (comparisons[pair]["wer"] for pair in (("a", "b"), ("b", "a")))
    assert one.difference.delta == -other.difference.delta
    assert one.survives == other.survives
    assert (one.relative, other.relative) == (pytest.approx(1.0), pytest.approx(-0.5))


def test_holm_takes_back_what_is_one_among_many():
    """p = .005 of 1 comparison survives, of 13 it does not."""
    assert "Holm" not in said([WER], {"a": (0.2,), "b": (0.1,)}, baseline="a")
    many = {"a": (0.2,), "b": (0.1,), **{f"c{index}": (0.15,) for index in range(12)}}
    assert "a gain is shown, which does not survive Holm's correction" in said([WER], many, baseline="a")
    several = said([WER, ECE], {name: (*value, 0.1) for name, value in many.items()}, baseline="a")
    assert "a gain is shown in WER (not after Holm's correction); no difference" in several


def test_a_control_that_was_not_run():
    text = said([WER], {"a": (0.2,), "b": (0.1,)}, controls={"b": "absent"}, baseline="a")
    assert (
        "**B** has 10.00 points of WER less than the baseline, **A** (50.0 % relative, p = .005): a gain is shown."
        in text
    )
    assert "Its control, **absent**, was not run." in text


def test_caveats():
    text = said(
        [WER], {"a": (0.2,), "b": (0.1,)}, controls={"b": "a"}, steps={"a": 100, "b": 200}, seeds=1
    )  # fmt: skip
    assert "than its control, **A**" in text
    assert "**B** and its control, **A**, did not have equal budgets: 200 against 100 passes" in text
    assert "From one seed only, so that another seed may change them: **A**, **B**." in text
    for untrained in ({"a": 0}, {"a": 0, "b": 0}):  # no budget to compare
        text = said([WER], {"a": (0.2,), "b": (0.1,)}, controls={"b": "a"}, steps=untrained)
        assert "than its control, **A**" in text and "equal budgets" not in text
    made = experiment([WER], {"a": (0.2,)})
    made.systems["a"].unfinished.append(7)
    made.systems["c"] = System("c", "C", None, None, [], [])
    text = " ".join(findings(made, {}))
    assert "**A**: unfinished and left out: seed 7." in text
    assert "Not run: **C**." in text
