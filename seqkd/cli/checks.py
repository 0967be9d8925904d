"""What can be wrong with settings, said in one sentence."""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = Path(__file__).resolve().parent.parent / "conf"
AT_LEAST_ONE = re.compile(
    r"nj|seeds|decode\.beam|report\.replicates|(teacher|student)\.training\.(updates|validate_every|average|threads)"
)


@functools.cache
def defaults(task: str) -> dict[str, Any]:
    """Every setting by its dotted name, with its default: what tells of which kind its value must be."""
    from omegaconf import OmegaConf

    config = OmegaConf.load(CONF / task / "config.yaml")
    for group in config.pop("defaults"):
        if group == "_self_":
            continue
        ((name, _),) = group.items()  # as in "model@student.model: conv" or "system: none"
        folder, _, place = name.partition("@")
        # Files without a list of their own defaults say all; the others only how they differ.
        files = [OmegaConf.load(path) for path in sorted((CONF / task / folder).glob("*.yaml"))]
        for file in (file for file in files if "defaults" not in file):
            OmegaConf.update(config, place or folder, file)
    return dict(leaves(OmegaConf.to_container(config)))


def leaves(value: Any, prefix: str = "") -> Any:
    """Yield dotted names and values; an empty mapping is a value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def check_values(cfg: DictConfig) -> None:
    """Raise ConfigError when a value is of another kind than its default, or a count is below 1."""
    from omegaconf import OmegaConf

    for name, default in defaults(cfg.task).items():
        value = OmegaConf.select(cfg, name)
        if value is None or default is None:
            continue
        wanted, fits = kind(default)
        if not fits(value):
            raise ConfigError(f"setting {name} is {value!r}; expected {wanted}")
        if AT_LEAST_ONE.fullmatch(name) and value < 1:
            raise ConfigError(f"setting {name} is {value}; expected at least 1")


def kind(default: Any) -> tuple[str, Any]:
    """Name the kind of a default value, and give the test for it."""
    number = lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)  # noqa: E731
    if isinstance(default, bool):
        return "true or false", lambda value: isinstance(value, bool)
    if isinstance(default, int):
        return "a whole number", lambda value: number(value) and isinstance(value, int)
    if isinstance(default, float):
        return "a number", number
    if isinstance(default, str):
        return "text", lambda value: isinstance(value, str)
    if isinstance(default, list):
        return (
            "a list, such as [a,b]",
            lambda value: not isinstance(value, (str, int, float)) and hasattr(value, "append"),
        )
    return "a mapping, such as {a: 1}", lambda value: hasattr(value, "items")


def explain(error: Exception, overrides: list[str], task: str) -> str:
    """Turn what Hydra or OmegaConf says of a setting into one sentence."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException, MissingConfigException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        known = ", ".join(error.options or [])
        return f"there is no {error.missing_cfg_file}" + (f"; known: {known}" if known else "")
    for override in overrides:
        try:
            OverridesParser.create().parse_override(override)
        except HydraException as fault:
            reason = str(fault).splitlines()[0]
            return (
                f"setting {override!r} cannot be read ({reason}); expected key=value, lists as [a,b], "
                "and quotes around text with special characters"
            )
    if unknown := re.match(r"Could not override '([^']+)'", str(error)):
        known = defaults(task)
        if known.get(unknown[1]) == {}:
            return f"setting {unknown[1]} is a mapping to add to; write +{unknown[1]}.KEY=VALUE"
        if unknown[1] in known:
            return f"setting {unknown[1]} does not belong to what model= or system= chose"
        near = difflib.get_close_matches(unknown[1], known, n=1)
        meant = f"did you mean {near[0]}?" if near else f"seqkd/conf/{task}/config.yaml lists what there is"
        return f"there is no setting {unknown[1]}; {meant}"
    reason = " ".join(str(error).split("See https")[0].split())
    return f"the settings cannot be used: {reason}"
