"""Settings as a user writes them, ``key=value``, in the words of Hydra's override grammar.

That grammar gives a meaning to commas, quotes, brackets, ``=``, ``$``, ``#``, ``~`` and more, and knows only some
letters outside quotes. File systems and people do not, so what is meant as text is quoted here on the user's behalf.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqkd.settings import did_you_mean


def quoted(text: Path | str) -> str:
    """Quote a path or any other text, so that Hydra and OmegaConf give back exactly that, interpolating nothing."""
    return _between_quotes(re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", str(text)))


def _between_quotes(text: str) -> str:
    # Hydra takes backslashes for themselves, save for those that run into a quote.
    text = re.sub(r"(\\*)'", lambda found: f"{found[1] * 2}\\'", text)
    return "'" + re.sub(r"\\+\Z", lambda found: found[0] * 2, text) + "'"


def as_override(value: Any) -> str:
    """A plain value as Hydra's override grammar has it."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_override, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_override(one)}" for key, one in value.items()) + "}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def as_meant(override: str, defaults: Mapping[str, Any], *, sweep: bool = False) -> str:
    """A user's setting, its value quoted where it is text and Hydra would read something else into it.

    What is quoted already, or refers to other settings by ``${...}``, keeps its meaning; so do numbers, lists and
    mappings where the setting may be one, unless there is a file of that very name. Of a setting that is a list,
    ``a,b`` is the list of both.

    Args:
        override: ``key=value``.
        defaults: default values by dotted name: they tell of which kind a value must be.
        sweep: whether ``a,b`` means one after the other.
    """
    key, equals, value = override.partition("=")
    name = key.lstrip("+")
    if not equals or key.startswith("~") or not value or name.startswith("hydra"):
        return override
    kind, found = _read(override)
    if kind == "quoted" or (sweep and kind == "sweep"):
        return override
    default = defaults.get(name)
    if isinstance(default, list) and kind == "sweep":
        return f"{key}=[{value}]"
    if default is not None and not isinstance(default, str):
        return override  # a number, a list or a mapping: what it is not is said by others
    refers = re.search(r"\$\{[^{}]+\}", value) is not None and not os.path.lexists(value)
    if kind == "text" and found == value and (refers or "${" not in value):
        return override
    if kind in ("nothing", "choice") or (kind in ("number", "container") and not os.path.lexists(value)):
        named = isinstance(default, str) and kind == "number"  # such as a title that is a year
        if not named:
            return override
    return f"{key}={_between_quotes(value) if refers else quoted(value)}"


def _read(override: str) -> tuple[str, Any]:
    """What Hydra takes a value for: quoted, text, number, container, nothing, choice (true, false), sweep or wrong."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
        value = parsed.value()
    except HydraException:
        return "wrong", None
    if parsed.is_sweep_override():
        return "sweep", None
    if isinstance(parsed._value, QuotedString):
        return "quoted", value
    if value is None:
        return "nothing", None
    if isinstance(value, bool):
        return "choice", value
    if isinstance(value, (int, float)):
        return "number", value
    return ("text", value) if isinstance(value, str) else ("container", value)


def kind(default: Any) -> tuple[str, Callable[[Any], bool]]:
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


def explain(error: Exception, overrides: Sequence[str], known: Mapping[str, Any], place: str) -> str:
    """Turn an error of Hydra or OmegaConf about a setting into one sentence.

    Args:
        error: what was raised.
        overrides: the settings as they were written.
        known: every setting by its dotted name, with its default.
        place: the file that lists them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException, MissingConfigException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        options = error.options or []
        near = did_you_mean(error.missing_cfg_file.rpartition("/")[2], options).removeprefix("; ")
        listed = f"{near}{' ' * bool(near)}known: {', '.join(options)}" if options else ""
        return f"there is no {error.missing_cfg_file}" + (f"; {listed}" if listed else "")
    for override in overrides:
        try:
            OverridesParser.create().parse_override(override)
        except HydraException as fault:
            reason = str(fault).splitlines()[0]
            return (
                f"setting {override!r} cannot be read ({reason}); expected key=value, lists as [a,b], "
                "and quotes around text with special characters"
            )
    if several := re.match(r"Ambiguous value for argument '([^=']+)=(.*)'", str(error)):
        default = known.get(several[1].lstrip("+"))
        wanted = f"; expected {kind(default)[0]}" if default is not None else ""
        return f"setting {several[1]} is {several[2]!r}{wanted}"
    if unknown := re.match(r"Could not override '([^']+)'", str(error)):
        if known.get(unknown[1]) == {}:
            return f"setting {unknown[1]} is a mapping to add to; write +{unknown[1]}.KEY=VALUE"
        if unknown[1] in known:
            return f"setting {unknown[1]} does not belong to what model= or system= chose"
        meant = did_you_mean(unknown[1], known) or f"; {place} lists what there is"
        return f"there is no setting {unknown[1]}{meant}"
    reason = " ".join(str(error).split("See https")[0].split())
    return f"the settings cannot be used: {reason}"
