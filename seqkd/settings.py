"""Settings are checked where a class takes them; a wrong one is a sentence that names it by its full name.

@dataclass(frozen=True)
class SpecAugment:
    time_masks: int = 2
    def __post_init__(self) -> None:
        at_least(0, time_masks=self.time_masks)

augment = build(SpecAugment, {"time_mask": 3}, "student.augment")
# ConfigError: there is no setting student.augment.time_mask; did you mean time_masks?
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from seqkd.errors import ConfigError

Made = TypeVar("Made")


def number(what: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` if it is a number from ``low`` to ``high``; else raise ConfigError about ``what``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"{what} is {value!r}, expected a number from {low:g} to {high:g}.")
    return value


def at_least(low: float, **values: Any) -> Any:
    """Return the value of the one setting named; raise ConfigError unless each is a number of ``low`` or more."""
    return _in_range(values, lambda value: value >= low, f"at least {low:g}")


def more_than(low: float, **values: Any) -> Any:
    """Likewise, of numbers above ``low``."""
    return _in_range(values, lambda value: value > low, f"more than {low:g}")


def between(low: float, high: float, **values: Any) -> Any:
    """Likewise, of numbers from ``low`` to ``high``, both allowed."""
    return _in_range(values, lambda value: low <= value <= high, f"from {low:g} to {high:g}")


def less_than(low: float, high: float, **values: Any) -> Any:
    """Likewise, of numbers from ``low``, which is allowed, to ``high``, which is not."""
    return _in_range(values, lambda value: low <= value < high, f"from {low:g} to less than {high:g}")


def finite(**values: Any) -> Any:
    """Likewise, of any numbers but NaN and the infinities."""
    return _in_range(values, lambda value: True, "a finite number")


def share(**values: Any) -> Any:
    """Likewise, of numbers from 0 to 1."""
    return between(0, 1, **values)


def one_of(allowed: Iterable[Any], **values: Any) -> Any:
    """Likewise, of the values ``allowed``."""
    allowed = list(allowed)
    for name, value in values.items():
        if value not in allowed:
            near = did_you_mean(str(value), map(str, allowed))
            raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(map(str, allowed))}{near}")
    return next(iter(values.values()))


def _in_range(values: Mapping[str, Any], fits: Callable[[Any], bool], wanted: str) -> Any:
    for name, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and fits(value)):
            raise ConfigError(f"{name} is {value!r}; expected {'' if number else 'a number, '}{wanted}")
    return next(iter(values.values()))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` if one of the known names is near, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def arguments_of(kind: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Parameters by name. Those that ``**options`` hands on to the class it derives from are among them."""
    parameters = dict(inspect.signature(kind).parameters)
    options = next((name for name, one in parameters.items() if one.kind is inspect.Parameter.VAR_KEYWORD), None)
    if options is None or not isinstance(kind, type):
        return parameters
    del parameters[options]
    for base in kind.__mro__[1:]:
        if "__init__" in vars(base):
            inherited = arguments_of(base) if base is not object else {}
            return parameters | {name: one for name, one in inherited.items() if name not in parameters}
    return parameters


def build(kind: Callable[..., Made], settings: Mapping[str, Any], where: str, *args: Any) -> Made:
    """Call a class (or function) with settings, whose place ``where`` heads every message.

    ``where`` is empty for settings that stand in no mapping.

    Args:
        kind: what takes the settings as keyword arguments, and checks their values.
        settings: plain values by name.
        where: such as ``student.augment``.
        *args: given as they are, before the settings.

    Raises:
        ConfigError: an unknown or missing setting, or what ``kind`` finds wrong with one, as ``<where>.<its message>``.
    """
    check_names(kind, settings, where, *args)
    try:
        return kind(*args, **settings)
    except ConfigError as error:
        raise ConfigError(f"setting {_prefix(where)}{error}") from None


def check_names(kind: Callable[..., Any], settings: Mapping[str, Any], where: str, *args: Any) -> None:
    """Raise ConfigError where ``kind`` takes no setting of a name, or needs one that is not there; see `build`."""
    parameters = arguments_of(kind)
    taken = list(parameters)[: len(args)]
    known = [
        name
        for name, one in parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and name not in taken
    ]
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        for name in settings:
            if name not in known:
                near = did_you_mean(name, known) or f"; known: {', '.join(known)}"
                raise ConfigError(f"there is no setting {_prefix(where)}{name}{near}")
    missing = [name for name in known if parameters[name].default is inspect.Parameter.empty and name not in settings]
    if missing:
        raise ConfigError(f"setting {_prefix(where)}{missing[0]} is missing")


def _prefix(where: str) -> str:
    return f"{where}." if where else ""
