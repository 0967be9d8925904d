"""From a command line to one checked configuration: defaults, presets, systems and ``key=value`` settings.

`compose` puts them together by Hydra and checks them, so that a wrong setting is one sentence before anything runs or
is deleted. A recipe's own directory (``--conf``) may add presets, models and systems: ``system/mine.yaml`` there is
used like those of the package, and may build on one of them by ``defaults: [kd, _self_]``.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.errors import ConfigError
from seqkd.overrides import as_meant, as_override, explain, kind, quoted
from seqkd.settings import did_you_mean

if TYPE_CHECKING:
    import argparse

    from omegaconf import DictConfig

CONF = Path(__file__).resolve().parent / "conf"
TASKS = tuple(sorted(path.parent.name for path in CONF.glob("*/config.yaml")))
OLD_NAMES = {"ctc_kd": "asr", "seq2seq_ls": "translation", "music2shot": "shots"}
# Mappings of which the files name only some keys. What takes the settings checks the others.
OPEN = ("system.objective.", "system.network.", "system.options.", "report.expect.", "dev_chosen.", "variants.")


def task_name(name: str) -> str:
    """The task of that name; an old name is accepted for one release, with a line on stderr."""
    if name in OLD_NAMES:
        new = OLD_NAMES[name]
        print(f"seqkd: the task {name} is now called {new}; the old name goes with the next release", file=sys.stderr)
        return new
    return name


def compose(args: argparse.Namespace, *extra: str) -> DictConfig:
    """Settings from the package's defaults, the recipe's preset, ``args.overrides`` and ``extra``, later ones winning.

    Raises:
        ConfigError: a setting does not exist, cannot be read, or has a value that it cannot have.
    """
    cfg, _ = composed(args, *extra)
    check_settings(cfg)
    return cfg


def composed(args: argparse.Namespace, *extra: str) -> tuple[DictConfig, list[str]]:
    """Unchecked settings, and the keys of those among them that had to be added to an open mapping."""
    return pickle.loads(_composed(Command.of(args), extra))


@dataclass(frozen=True)
class Command:
    """All that settings depend on: the options of a command, and the state of the files that are read."""

    task: str
    conf: Path | None
    preset: str | None
    exp: Path | str
    data: Path | str
    nj: int
    ngpu: int
    overrides: tuple[str, ...]
    files: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, args: argparse.Namespace) -> Command:
        """The options that ``seqkd.cli.settings.parse`` returned, and the files as they are now."""
        conf = args.conf.resolve() if args.conf else None
        found = [path for folder in (CONF / args.task, conf) if folder for path in sorted(folder.rglob("*.yaml"))]
        stats = tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in found)
        return cls(args.task, conf, args.preset, args.exp, args.data, args.nj, args.ngpu, tuple(args.overrides), stats)


# Hydra takes a tenth of a second and more; each stage asks for the settings of each system.
@functools.lru_cache(maxsize=256)
def _composed(args: Command, extra: tuple[str, ...]) -> bytes:
    """`composed`, pickled, so that each caller gets an object of its own."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    first = []
    if args.conf:
        first.append(search_path(args.conf))
    if args.preset:
        if not (args.conf and (args.conf / "preset" / f"{args.preset}.yaml").is_file()):
            known = sorted(p.stem for p in (args.conf / "preset").glob("*.yaml")) if args.conf else []
            raise ConfigError(f"there is no preset {args.preset!r}; known: {', '.join(known) or 'none without --conf'}")
        first.append(f"+preset={args.preset}")
    first += [f"conf={quoted(args.conf)}"] if args.conf else []
    first += [f"exp={quoted(args.exp)}", f"data={quoted(args.data)}", f"nj={args.nj}", f"ngpu={args.ngpu}"]
    known = defaults(args.task)
    given, added = [*(as_meant(one, known) for one in args.overrides), *extra], []
    while True:
        try:
            with initialize_config_dir(str(CONF / args.task), version_base="1.3"):
                cfg = hydra_compose("config", [*first, *(with_plus(one, added) for one in given)])
            if (own := own_model(cfg)) and not any(one.startswith(f"{own.partition('=')[0]}=") for one in given):
                given.insert(0, own)
                continue
            return pickle.dumps((resolved(cfg), added))
        except (HydraException, OmegaConfBaseException) as error:
            unknown = re.match(r"Could not override '([^']+)'", str(error))
            if unknown and unknown[1] not in added and may_be_added(unknown[1], args, given):
                added.append(unknown[1])
                continue
            raise ConfigError(explained(error, given, args.task)) from error


def own_model(cfg: DictConfig) -> str | None:
    """The override by which a system has a model file of its own, ``system.model``, if it has."""
    name = cfg.system.get("model")
    return f"model@{cfg.system.role}.model={name}" if isinstance(name, str) else None


def resolved(cfg: DictConfig) -> DictConfig:
    """Settings without references; a path or text that holds ``${`` stays what it is when it is looked at again."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(cfg, resolve=True)
    if not any(isinstance(value, str) and "${" in value for _, value in leaves(values)):
        OmegaConf.resolve(cfg)
        return cfg

    def escaped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: escaped(one) for key, one in value.items()}
        if isinstance(value, list):
            return list(map(escaped, value))
        return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value) if isinstance(value, str) else value

    cfg = OmegaConf.create(escaped(values))
    OmegaConf.set_struct(cfg, True)
    return cfg


def search_path(conf: Path) -> str:
    """The setting by which Hydra finds a recipe's own files. It takes no percent signs for spaces, as URIs have."""
    return f"hydra.searchpath=[{quoted(f'file://{conf.resolve()}')}]"


def with_plus(override: str, keys: Iterable[str]) -> str:
    """A setting, written so that Hydra adds its key where it is one of ``keys``."""
    return f"++{override}" if override.partition("=")[0] in keys else override


def may_be_added(key: str, args: Command, given: Sequence[str]) -> bool:
    """Whether a key that no file names belongs to an open mapping, or to what builds a model or a corpus."""
    from omegaconf import OmegaConf

    if key.startswith(OPEN):
        return True
    place, _, name = key.rpartition(".")
    if place not in ("teacher.model", "student.model", "corpus"):
        return False
    others = tuple(one for one in given if not one.startswith(f"{place}."))
    cfg, _ = pickle.loads(_composed(replace(args, overrides=others), ()))
    holds = OmegaConf.to_container(OmegaConf.select(cfg, place))
    builder = maker(holds) if place == "corpus" else checks_of(args.task).builder(holds)
    return builder is not None and name in inspect.signature(builder).parameters


def maker(corpus: dict[str, Any]) -> Callable[..., Any] | None:
    """The function that ``corpus._target_`` names, if there is one."""
    module, _, name = str(corpus.get("_target_", "")).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None) if module else None
    except ImportError:
        return None


def checks_of(task: str) -> Any:
    """The module that builds what a task's settings are for. Found by name, since tasks stand above this module."""
    return import_with(f"seqkd.tasks.{task}.settings", "torch")


def import_with(name: str, heavy: str) -> Any:
    """Import a module that imports the library ``heavy``.

    The first time, that makes objects by the hundred thousand, which stay: Python is kept from looking for garbage
    among them, then and later, since that takes a fifth of a command's start.
    """
    if heavy in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def check_settings(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting, if any, that has a value of another kind or out of its range."""
    check_kinds(cfg)
    check_corpus(cfg)
    check_variants(cfg)
    if not cfg.systems:
        raise ConfigError("setting systems is []; expected at least one system, such as [student]")
    checks_of(cfg.task).check(cfg)


def explained(error: Exception, overrides: Sequence[str], task: str) -> str:
    """What Hydra or OmegaConf raised about the settings of a task, in one sentence."""
    return explain(error, overrides, defaults(task), f"seqkd/conf/{task}/config.yaml")


# ---- systems


def systems_of(cfg: DictConfig) -> dict[str, Path]:
    """The file of every system there is, by name: the package's, then those of the recipe's own ``conf/system``.

    Raises:
        ConfigError: an own system has the name of one of the package's, or its file does not give its name and label.
    """
    from omegaconf import OmegaConf

    found = {path.stem: path for path in sorted((CONF / cfg.task / "system").glob("*.yaml"))}
    for path in sorted((Path(cfg.conf) / "system").glob("*.yaml")) if cfg.conf else ():
        if path.stem in found:
            raise ConfigError(f"{path} has the name of a system of seqkd itself; give it another name")
        try:
            file = OmegaConf.load(path)
        except Exception as error:  # what YAML's reader and OmegaConf raise has no common ancestor
            raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
        for key, wanted in (("name", path.stem), ("label", "what tables are to call it")):
            # Else it would go by those of the system that it builds on, and train in its place.
            if key not in file or (key == "name" and file.name != path.stem):
                raise ConfigError(f"{path} has {key} {file.get(key)!r}; expected a line '{key}: {wanted}'")
        found[path.stem] = path
    return found


def variants_of(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """The systems that ``variants`` adds to the files, by name: ``{of: a system, label: ..., with: [overrides], ...}``.

    A variant is ``of`` a system, differs from it in what else stands there, and ``with`` overrides outside of
    ``system``. So a sweep is a few lines of a preset.
    """
    from omegaconf import OmegaConf

    return OmegaConf.to_container(cfg.variants, resolve=True) if cfg.variants else {}


def check_variants(cfg: DictConfig) -> None:
    """Raise ConfigError about a variant with the name of a file, without a label, of a system that is not there, or
    with a key that no system has.
    """
    files = systems_of(cfg)
    ours = dict.fromkeys(key.split(".")[1] for key in defaults(cfg.task) if key.startswith("system."))
    keys = ["of", "with", *ours]
    for name, variant in variants_of(cfg).items():
        if name in files:
            raise ConfigError(f"setting variants.{name} has the name of a system; give it another name")
        if not isinstance(variant, dict) or not {"of", "label"} <= variant.keys():
            raise ConfigError(f"setting variants.{name} is {variant!r}; expected a mapping with 'of' and 'label'")
        others = variant.get("with", [])
        if not (isinstance(others, list) and all(isinstance(one, str) and "=" in one for one in others)):
            raise ConfigError(f"setting variants.{name}.with is {others!r}; expected a list such as [a=1,b=2]")
        for key in (key for key in variant if key not in keys):
            raise ConfigError(f"there is no setting variants.{name}.{key}{did_you_mean(str(key), keys)}")
        if variant["of"] not in files:
            near = did_you_mean(str(variant["of"]), files)
            raise ConfigError(f"setting variants.{name}.of: there is no system {variant['of']!r}{near}")


def check_system_name(cfg: DictConfig, *names: str, where: str = "") -> None:
    """Raise ConfigError, with the known systems, unless there are those of the names. ``where`` heads the sentence."""
    known = [*systems_of(cfg), *variants_of(cfg)]
    for name in (name for name in names if name not in known):
        near = did_you_mean(str(name), known).removeprefix("; ")
        raise ConfigError(f"{where}there is no system {name!r}; {near}{' ' * bool(near)}known: {', '.join(known)}")


def system_settings(cfg: DictConfig, name: str) -> DictConfig:
    """What the file of a system says, on top of those that it builds on; command line and preset are left out."""
    from omegaconf import OmegaConf

    check_system_name(cfg, name)
    variant = variants_of(cfg).get(name)
    if variant is not None:
        own = {key: value for key, value in variant.items() if key not in ("of", "with")}
        return OmegaConf.merge(system_settings(cfg, variant["of"]), own, {"name": name})
    file = OmegaConf.load(systems_of(cfg)[name])
    bases = [system_settings(cfg, base) for base in file.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*bases, file)


def student_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Every (system, seed) of ``systems=[...]``. Raises ConfigError for a system that does not exist."""
    check_system_name(cfg, *cfg.systems)
    return [(system, seed) for system in cfg.systems for seed in range(cfg.seeds)]


def system_overrides(cfg: DictConfig, system: str, seed: int) -> list[str]:
    """Overrides that select a system and a seed, with what was chosen for it on dev."""
    chosen = [*(cfg.dev_chosen.get(system) or [])]
    variant = variants_of(cfg).get(system)
    if variant is None:
        return [f"system={system}", f"seed={seed}", *chosen]
    own = dict(variant)
    base, others = own.pop("of"), own.pop("with", [])
    differing = [f"++system.{key}={as_override(value)}" for key, value in leaves({**own, "name": system})]
    of_base = cfg.dev_chosen.get(base) or []
    return [f"system={base}", f"seed={seed}", *of_base, *differing, *others, *chosen]


def shared_overrides(cfg: DictConfig) -> list[str]:
    """Overrides for runs elsewhere that have this experiment's tokenizer, teacher and book in common."""
    shared = {"tokens": "directory", "teacher": "exp", "book": "directory"}
    places = {f"{group}.{key}": cfg[group][key] for group, key in shared.items() if key in (cfg.get(group) or {})}
    return [f"{name}={quoted(place)}" for name, place in places.items()]


# ---- kinds of values

_EXAMPLES = {"bool": False, "int": 0, "float": 0.0}  # by the annotation of what takes them


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


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; an empty mapping is a value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def check_kinds(cfg: DictConfig) -> None:
    """Raise ConfigError when a value is of another kind than its default."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(cfg, resolve=True)  # at once: to look each up in the config takes ten times as long
    for name, default in defaults(cfg.task).items():
        value = value_of(values, name)
        if value is None or value == "???" or default is None:
            continue
        wanted, fits = kind(default)
        if not fits(value):
            raise ConfigError(f"setting {name} is {value!r}; expected {wanted}")


def check_corpus(cfg: DictConfig) -> None:
    """Raise ConfigError when a setting of the corpus is of another kind than its maker takes.

    Hydra reads ``no``, ``off`` and ``n`` as text, which Python takes for true.
    """
    from omegaconf import OmegaConf

    given = OmegaConf.to_container(cfg.corpus, resolve=True)
    make = maker(given) if isinstance(given, dict) else None
    for name, parameter in inspect.signature(make).parameters.items() if make else ():
        example = _EXAMPLES.get(getattr(parameter.annotation, "__name__", parameter.annotation))
        if name in given and example is not None:
            wanted, fits = kind(example)
            if not fits(given[name]):
                raise ConfigError(f"corpus.{name} is {given[name]!r}; expected {wanted}")


def value_of(values: Any, name: str) -> Any:
    """The value of a dotted name in nested mappings; None where there is none."""
    for key in name.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values
