"""From settings to an objective: ``name: {_target_: module.Class, weight: 1.0, ...}`` for each term."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from seqkd.errors import ConfigError
from seqkd.losses.objective import Objective, Term
from seqkd.settings import build, did_you_mean


def objective_of(settings: Mapping[str, Any], where: str = "system.objective", passes: int | None = None) -> Objective:
    """Build the terms of an objective, in the order of the settings.

    Args:
        settings: by the name of the term, its class as ``_target_``, in full, and that class' arguments; null leaves a
            term out that another file has put there.
        where: heads the messages.
        passes: over each batch, as many as the terms have to compare.

    Raises:
        ConfigError: a term without a class, a class that is not there or no term, an unknown argument, a value out of
            range.
    """
    terms = {}
    for name, options in settings.items():
        if options is None:
            continue
        place = f"{where}.{name}"
        if not isinstance(options, Mapping) or "_target_" not in options:
            known = [key for key, value in settings.items() if isinstance(value, Mapping) and "_target_" in value]
            near = did_you_mean(str(name), known) or f"; the terms of this system: {', '.join(known)}"
            raise ConfigError(f"setting {place} has no _target_, the class of the term{near}")
        arguments = {key: value for key, value in options.items() if key != "_target_"}
        terms[name] = _build(options["_target_"], arguments, place)
    if not terms:
        raise ConfigError(f"setting {where} has no terms; expected at least one")
    for name, term in terms.items():
        if passes is not None and passes < term.passes and not term.off:
            raise ConfigError(
                f"setting system.passes is {passes}; expected at least {term.passes}, as term {name} compares passes"
            )
    return Objective(**terms)


def _build(target: str, arguments: Mapping[str, Any], place: str) -> Term:
    kind = imported(target, f"setting {place}._target_")
    if not (isinstance(kind, type) and issubclass(kind, Term)):
        raise ConfigError(f"setting {place}._target_ is {target}, which is no subclass of seqkd.losses.Term")
    return build(kind, arguments, place)


def imported(target: str, where: str) -> Any:
    """What ``module.name`` names. Raises ConfigError, headed by ``where``, if there is no such thing."""
    module, _, name = str(target).rpartition(".")
    if not module:
        raise ConfigError(f"{where} is {target!r}; expected a module and a name in it, such as seqkd.losses.Ctc")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not (error.name and (module == error.name or module.startswith(error.name + "."))):
            raise
        raise ConfigError(
            f"{where} is {target}, but there is no module {error.name}; is its directory on PYTHONPATH?"
        ) from None
    if not hasattr(found, name):
        near = did_you_mean(name, dir(found))
        raise ConfigError(f"{where} is {target}, but {module} has no {name}{near}")
    return getattr(found, name)
