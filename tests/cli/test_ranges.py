"""Every numeric setting of every task, out of its range, is one sentence that names it, before anything runs."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import CONF, TASKS, check_settings, compose, defaults, leaves
from seqkd.errors import ConfigError

# Where a negative number has a meaning.
NEGATIVE = {
    "decode.word_score": "a price for each word makes words rarer",
    "augment.snr_db": "noise that is louder than the sound",
}
# Which layers there are, only the model knows, and what a procedure takes, only that: training says so.
ELSEWHERE = re.compile(r"system\.objective\.\w+\.layer|system\.options\..*")
# null by default, and a number where it is set.
OPTIONAL = {
    "asr": ["book.seeds", "teacher.weights", "system.start_within"],
    "translation": ["system.teacher_seed"],
    "shots": [],
    "classification": [
        *("system.teacher_seed", "system.examples.shots", "system.examples.seed"),
    ],
}
# Without which some systems of a task cannot be.
NEEDED = {"classification": ["classes.subset=0.5"]}


def choices(task: str) -> Iterator[tuple[str, ...]]:
    """Overrides that choose each file of each group but system, one at a time."""
    for path in sorted((CONF / task).glob("*/*.yaml")):
        if path.parent.name == "model":
            yield f"model@teacher.model={path.stem}", f"model@student.model={path.stem}"
        else:
            yield (f"{path.parent.name}={path.stem}",)


@functools.cache  # which takes a tenth of a second; who changes it puts back what was there
def composed(task: str, *overrides: str) -> DictConfig:
    return compose(parse(parser("test", ""), ["--task", task, *NEEDED.get(task, []), *overrides]))


def numbers(cfg: DictConfig) -> dict[str, int | float | list]:
    """Numeric settings, and lists of numbers, by name."""
    number = lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)  # noqa: E731
    found = dict(leaves(OmegaConf.to_container(cfg, resolve=True)))
    return {
        name: value
        for name, value in found.items()
        if number(value) or (isinstance(value, list) and value and all(map(number, value)))
    }


def test_no_number_is_left_out():
    """What is looked at below is all that the files hold."""
    for task in TASKS:
        seen = {name for chosen in [(), *choices(task)] for name in numbers(composed(task, *chosen))}
        stated = {name for name, value in defaults(task).items() if type(value) in (int, float)}
        assert stated - seen == set() and len(seen) > 15


def refused(cfg: DictConfig, name: str, value: object) -> None:
    parent, _, key = name.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    before = OmegaConf.to_container(node, resolve=False)[key]  # maybe an interpolation
    node[key] = value
    try:
        with pytest.raises(ConfigError) as caught:
            check_settings(cfg)
    finally:
        node[key] = before
    assert str(caught.value).startswith(f"setting {name} is ") and "expected" in str(caught.value), name
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_every_number_out_of_its_range_is_refused(task):
    done: set[tuple[str, ...]] = set()
    for chosen in [(), *choices(task)]:
        cfg = composed(task, *chosen)
        by_system = bool(chosen) and chosen[0].startswith("system=")
        groups = tuple(f"{one.partition('=')[0].rpartition('@')[2]}." for one in chosen)  # all that a choice changes
        for name, value in numbers(cfg).items():
            if ELSEWHERE.fullmatch(name) or (chosen and not name.startswith(groups)):
                continue
            # Many systems have the same term, and most numbers of the one that they build on.
            target = OmegaConf.select(cfg, f"{name.rpartition('.')[0]}._target_")
            key = (name, target or repr(value)) if by_system else (name, *chosen)
            if key in done:
                continue
            done.add(key)
            wrong = [-1] if isinstance(value, int) else [math.nan, math.inf, -math.inf, -1.0]
            for one in wrong[: -1 if name in NEGATIVE else None]:
                refused(cfg, name, one)
            if isinstance(value, list):
                refused(cfg, name, [-1])
    cfg = composed(task)
    for name in OPTIONAL[task]:
        refused(cfg, name, [-1] if name.endswith("weights") else -1)
    check_settings(cfg)  # what was put back is as it was


@pytest.mark.parametrize(
    ("task", "setting", "said"),
    [
        ("asr", "student.augment.time_fraction=7.0", "7.0; expected from 0 to 1"),
        ("asr", "student.training.lr=-1", "-1; expected more than 0"),
        ("asr", "student.training.max_duration=-1.0", "-1.0; expected more than 0"),
        ("asr", "teacher.training.warmup=-5", "-5; expected at least 0"),
        ("asr", "student.training.gradient_clip=-1.0", "-1.0; expected at least 0"),
        ("asr", "system.objective.kd.temperature=0", "0; expected more than 0"),
        (
            "asr",
            "system.objective.consistency.weight=[[0,0],[0,1]]",
            "[[0, 0], [0, 1]]; expected shares of the updates that rise",
        ),
        ("asr", "systems=[]", "[]; expected at least one system, such as [student]"),
        ("asr", "decode.beam=0", "0; expected at least 1"),
        ("asr", "decode.blank_penalty=best", "'best'; expected one of auto"),
        ("asr", "system.updates_factor=0", "0; expected more than 0"),
        ("asr", "system.mel_warp=1.0", "1.0; expected from 0 to less than 1"),
        ("asr", "student.augment.rule=icefall", "'icefall'; expected one of lhotse, even"),
        ("asr", "decode.lm_order=1", "1; expected from 2 to 6"),
        ("asr", "features.frame_length_ms=0", "0; expected at least 1"),
        ("asr", "student.model.kernel=4", "4; expected an odd number"),
        ("asr", "student.model.dropout=1.0", "1.0; expected from 0 to less than 1"),
        ("asr", "book.temperature=0", "0; expected more than 0"),
        ("asr", "book.tail=cut", "'cut'; expected one of spread, renormalise"),
        ("asr", "teacher.rate_rule=spikes", "'spikes'; expected one of spike, mean, pick; did you mean spike?"),
        ("asr", "teacher.weights=equal", "'equal'; expected null, dev, or a list of numbers, one a teacher"),
        ("asr", "tokens.vocab_size=3", "3; expected at least 4"),
        ("translation", "student.model.heads=7", "7; expected a number whose double divides the width, which is 192"),
        ("translation", "text.max_ratio=0.5", "0.5; expected at least 1"),
        ("translation", "nodes=0", "0; expected at least 1"),
        ("shots", "teacher.strength=0", "0; expected more than 0"),
        ("shots", "model.sizes=[]", "[]; expected a whole number of at least 1 for each layer"),
        ("shots", "system.seconds=3", "3; expected one of 1, 2, 4"),
        ("classification", "augment.p=1.5", "1.5; expected from 0 to 1"),
        ("classification", "features.max_seconds=0.001", "0.001; expected at least 0.025"),
        ("classification", "features.colours=RGBA", "'RGBA'; expected one of L, RGB; did you mean RGB?"),
        ("classification", "classes.subset=all", "'all'; expected names as [a,b], a share of the classes, or null"),
        ("classification", "classes.subset=1.5", "1.5; expected from 0 to 1"),
        ("classification", "student.model.kernel=4", "4; expected an odd number"),
        ("classification", "student.training.batch=0", "0; expected at least 1"),
        ("classification", "student.training.stop=0", "0; expected more than 0"),
        ("classification", "system.examples.wrong_labels=1.0", "1.0; expected from 0 to less than 1"),
        ("classification", "system.views=[jda,noise]", "'noise'; expected one of clean, jda"),
        ("classification", "folds=2", "2; expected 0, or at least 3: to train, for dev, and for tests"),
    ],
)
@pytest.mark.parametrize("command", ["train", "decode"])
def test_every_command_refuses_and_changes_nothing(command, task, setting, said, tmp_path, capsys):
    (tmp_path / "exp").mkdir()
    places = ["--exp", str(tmp_path / "exp"), "--data", str(tmp_path / "data")]
    assert main([command, "--task", task, *places, setting]) == 1
    assert capsys.readouterr().err == f"seqkd {command}: setting {setting.partition('=')[0]} is {said}\n"
    assert [path.name for path in Path(tmp_path).rglob("*")] == ["exp"]


def test_zero_rounds_and_no_masks_are_allowed():
    composed("shots", "interaction.rounds=0", "language.smoothing=0")
    composed("asr", "student.augment.time_fraction=0", "student.augment.freq_masks=0", "decode.word_score=-2.5")
    composed("translation", "text.max_ratio=null", "decode.length_penalty=0")
