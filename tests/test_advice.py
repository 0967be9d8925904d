"""What README, docs, recipes and messages advise is understood: settings compose, commands and options exist."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from seqkd.cli.main import COMMANDS, main
from seqkd.cli.settings import parse, parser
from seqkd.config import OPEN, TASKS, compose, defaults
from seqkd.errors import SeqkdError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("local/*.md"))]
PRESETS = sorted(ROOT.glob("egs/*/*/conf/preset/*.yaml"))
SOURCES = sorted((ROOT / "seqkd").rglob("*.py"))
TEMPLATES = {"asr": "ctc_kd", "translation": "seq2seq_ls", "shots": "music2shot", "classification": "classify_kd"}
STANDS_FOR = {"N": "2", "HOST": "h", "...": "x"}  # what a person fills in
KEY = r"[a-z_]+(?:@[a-z_.]+)?(?:\.[a-z_]+)*"
SETTING = re.compile(rf"(?<![\w./\-'\"\[(=:{{])'?({KEY})=(\[[^\]\s]*\]|[^\s`'\";)]*[^\s`'\";).,:])")
NOT_OURS = {"seed", "name", "path", "text", "id", "key", "file", "mean", "p", "batch"}  # in prose: a variable, a column
OWN_EXAMPLES = re.compile(r"\bmine\b|system=|model=|<|\{|…|VALUE|KEY|\.\.\.")


def words_of_page(page: Path) -> list[str]:
    """What a page shows as code: in blocks of a shell, and inline."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for language, block in blocks if language in ("", "sh", "bash") for line in block.splitlines()] + [
        " ".join(one.split()) for one in inline
    ]


def messages_of(source: Path) -> list[str]:
    """The strings of a module that are not its docstrings, with {} where something is put in."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and isinstance(node.body[0], ast.Expr)
    }
    found, inside = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            found.append("".join(one.value if isinstance(one, ast.Constant) else "{}" for one in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents | inside:
            found.append(node.value)
    return found


@cache
def template(task: str) -> tuple[str, ...]:
    return ("--task", task, "--conf", str(ROOT / "egs" / "TEMPLATE" / TEMPLATES[task] / "conf"), "--preset", "default")


@cache
def corpus_keys(task: str) -> set[str]:
    return {f"corpus.{key}" for key in compose(parse(parser("test", ""), [*template(task)])).corpus}


def tasks_of(key: str) -> list[str]:
    """The tasks that have a setting."""
    return [
        task
        for task in TASKS
        if key in defaults(task)
        or key.startswith(OPEN)
        or key in corpus_keys(task)
        or key.startswith("corpus.columns.")
    ]


def settings_in(text: str) -> list[tuple[str, str]]:
    found = [(key, STANDS_FOR.get(value, value)) for key, value in SETTING.findall(text)]
    return [(key, value) for key, value in found if not OWN_EXAMPLES.search(f"{key}={value}")]


def advised() -> dict[tuple[str, str], str]:
    """Every setting that is advised, and where."""
    found: dict[tuple[str, str], str] = {}
    for page in PAGES:
        for words in words_of_page(page):
            if "--multirun" not in words:
                found |= {one: str(page.relative_to(ROOT)) for one in settings_in(words)}
    for source in SOURCES:
        for words in messages_of(source):
            found |= {one: str(source.relative_to(ROOT)) for one in settings_in(words)}
    for preset in PRESETS:
        for line in preset.read_text(encoding="utf-8").splitlines():
            if "./run.sh" in line.partition("#")[2]:
                found |= {one: str(preset.relative_to(ROOT)) for one in settings_in(line)}
    return {one: where for one, where in found.items() if "." in one[0] or one[0] not in NOT_OURS}


def test_settings_that_are_advised_are_understood() -> None:
    everything = advised()
    assert ("corpus.normalize", "lower,no-punctuation") in everything and len(everything) > 60
    faults: list[str] = []
    left: dict[str, dict[str, list[str]]] = {task: {} for task in TASKS}
    for (key, value), where in everything.items():
        if tasks := tasks_of(key):
            left[tasks[0]].setdefault(key, []).append(value)
        elif "." in key and not key.startswith("hydra."):
            faults.append(f"{where}: there is no setting {key} (={value})")
    for task, settings in left.items():
        while settings:  # one value of each key at a time
            given = [f"{key}={values.pop()}" for key, values in settings.items()]
            settings = {key: values for key, values in settings.items() if values}
            faults += refused(task, given)
    assert not faults, "\n".join(faults)


def refused(task: str, given: list[str]) -> list[str]:
    """Which settings are not understood, each by itself; found by halves, as composing takes long."""
    try:
        # A boundary between words is for characters alone, which is said wherever that is advised.
        first = ["tokens.type=char"] if "tokens.word_boundary=between" in given else []
        compose(parse(parser("test", ""), [*template(task), *given, *first]))
    except SeqkdError as error:
        if len(given) == 1:
            return [f"{task}: {given[0]}: {error}"]
        half = len(given) // 2
        return refused(task, given[:half]) + refused(task, given[half:])
    return []


@cache
def help_of(command: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return out.getvalue()


def test_commands_and_options_that_are_advised_exist() -> None:
    usage = subprocess.run(
        ["./run.sh", "--help"], cwd=ROOT / "egs" / "TEMPLATE" / "ctc_kd", capture_output=True, text=True, check=True
    ).stdout
    faults, seen = [], 0
    for where, texts in [*((page, words_of_page(page)) for page in PAGES), *((s, messages_of(s)) for s in SOURCES)]:
        for text in texts:
            for command in re.findall(
                r"(?:^|[\s'`:(/])((?:seqkd [a-z][a-z-]+|\./run\.sh|run\.sh)(?: [^'`;)]*)?)", text
            ):
                words = command.split()
                if words[0] == "seqkd":
                    if words[1] not in COMMANDS:
                        if "--" in text:  # else it is prose: "seqkd trains ..."
                            faults.append(f"{where}: there is no command seqkd {words[1]}")
                        continue
                    known = help_of(words[1])
                    if words[1] == "book" and len(words) > 2 and words[2] in ("make", "info", "verify", "merge"):
                        known = help_of(f"book {words[2]}")
                    if words[1:3] == ["prepare", "segment"]:
                        known = help_of("prepare segment")
                else:
                    known = usage
                seen += 1
                options = [re.split(r"[=\[|,]", word)[0] for word in words if re.match(r"--[a-z]", word)]
                faults += [f"{where}: {command!r}: there is no {one}" for one in options if one not in known]
    assert seen > 50
    assert not faults, "\n".join(faults)


def test_what_is_to_be_pasted_survives_a_shell() -> None:
    """No setting of README means something to a POSIX shell unless it is quoted there."""
    for words in words_of_page(ROOT / "README.md"):
        for word in words.split():
            if re.match(rf"{KEY}=", word) and "..." not in word and "<" not in word:
                assert shlex.split(word) == [word] or word.startswith("SEQKD_"), word
