"""Every setting of training has a range, in every task the same, and a value out of it is one sentence."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.settings import build
from seqkd.tasks.asr.work import SpeechTraining
from seqkd.tasks.classification.settings import ClipTraining
from seqkd.tasks.shots.work import SongTraining
from seqkd.tasks.translation.work import TextTraining
from seqkd.training.settings import TrainingSettings
from tests.training.cases import ASR, CLIPS, SHOTS, TRANSLATION, Kind

# By setting: the least or greatest values that are taken, values that are not, and what is expected instead.
RANGES: dict[str, tuple[list[Any], list[Any], str]] = {
    "updates": ([1], [0, -1], "at least 1"),
    "validate_every": ([1], [0, -4], "at least 1"),
    "average": ([1], [0], "at least 1"),
    "threads": ([1], [0], "at least 1"),
    "workers": ([0], [-1], "at least 0"),
    "warmup": ([0], [-5], "at least 0"),
    "lr": ([1e-9], [0, -1, float("inf")], "more than 0"),
    "final_lr": ([0, 1], [-0.1, 1.1], "from 0 to 1"),
    "weight_decay": ([0], [-0.1], "at least 0"),
    "gradient_clip": ([0], [-1.0], "at least 0"),
    "precision": (["bf16-mixed", "64-true"], ["32", "half"], "one of 32-true, 16-mixed, bf16-mixed, 64-true"),
    "optimizer": (["adamw", "rmsprop"], ["sgd"], "one of adamw, rmsprop"),
    "schedule": (["cosine"], ["linear"], "one of cosine, plateau"),
    "stop": ([1e-9, 1], [0, -0.5], "more than 0"),
    "patience": ([0], [-1], "at least 0"),
    "choose_after": ([0, 0.99], [-0.1, 1.0, 1.1], "from 0 to less than 1"),
}
# Only classification's files state them: a run of another task that is older than they are is not trained anew.
LATER = {"schedule", "stop", "patience", "choose_after"}
OWN = {
    SpeechTraining: {"max_duration": ([0.1], [0, -1.0], "more than 0")},
    TextTraining: {"max_tokens": ([1], [0, -1], "more than 0"), "max_length": ([1], [0], "at least 1")},
    ClipTraining: {"batch": ([1], [0], "at least 1")},
    SongTraining: {"batch": ([1], [0], "at least 1"), "window": ([1], [0, -2], "at least 1")},
}
KINDS: dict[type[TrainingSettings], tuple[Kind, str]] = {
    SpeechTraining: (ASR, "student.training"),
    TextTraining: (TRANSLATION, "student.training"),
    SongTraining: (SHOTS, "training"),
    ClipTraining: (CLIPS, "student.training"),
}
CASES = [pytest.param(kind, name, id=f"{kind.__name__}.{name}") for kind in OWN for name in [*RANGES, *OWN[kind]]]


def settings_of(kind: type[TrainingSettings]) -> dict[str, Any]:
    """A recipe's defaults."""
    made, place = KINDS[kind]
    cfg = made.settings(Path("/nowhere/exp"), Path("/nowhere/data"))
    return plain(cfg.student.training if place.startswith("student") else cfg.training)


@pytest.mark.parametrize("kind", OWN)
def test_every_setting_has_a_range_and_a_default(kind: type[TrainingSettings]) -> None:
    known = {field.name for field in fields(kind)} - {"keep"}  # a list, of names
    assert known == {*RANGES, *OWN[kind]}
    assert set(settings_of(kind)) - LATER - {"keep"} == known - LATER
    assert LATER - {"choose_after"} <= set(settings_of(ClipTraining))


def test_training_stops_at_a_share_of_the_updates() -> None:
    settings = TrainingSettings(updates=150, lr=0.1, validate_every=10, stop=0.05)
    assert settings.last_update == 8 and TrainingSettings(updates=5, lr=1, validate_every=1).last_update == 5
    assert TrainingSettings(updates=5, lr=1, validate_every=1, stop=0.01).last_update == 1
    with pytest.raises(ConfigError, match=r"stop is 1\.1; expected from 0 to 1"):
        TrainingSettings(updates=5, lr=1, validate_every=1, stop=1.1)
    with pytest.raises(ConfigError, match="warmup is 3; expected 0 where schedule is plateau"):
        TrainingSettings(updates=5, lr=1, validate_every=1, schedule="plateau", warmup=3)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_value_out_of_range_is_one_sentence(kind: type[TrainingSettings], name: str) -> None:
    taken, refused, expected = {**RANGES, **OWN[kind]}[name]
    place, good = KINDS[kind][1], settings_of(kind)
    for value in taken:
        assert getattr(build(kind, good | {name: value}, place), name) == value
    for value in [*refused, *([] if isinstance(taken[0], str) else [float("nan"), "much", True])]:
        with pytest.raises(ConfigError) as caught:
            build(kind, good | {name: value}, place)
        said = str(caught.value)
        assert said.startswith(f"setting {place}.{name} is {value!r}; expected ") and expected in said, said
        assert "\n" not in said


@pytest.mark.parametrize("kind", OWN)
def test_an_unknown_or_missing_setting_is_named(kind: type[TrainingSettings]) -> None:
    place, good = KINDS[kind][1], settings_of(kind)
    with pytest.raises(ConfigError, match=rf"there is no setting {place}.warmpu; did you mean warmup\?"):
        build(kind, good | {"warmpu": 1}, place)
    for name in ("updates", "lr", "validate_every", *OWN[kind]):
        with pytest.raises(ConfigError, match=f"setting {place}.{name} is missing"):
            build(kind, {key: value for key, value in good.items() if key != name}, place)
