"""Debian's sctk, run beside ours: on the machine, or fetched for the tests."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

BINARIES = "usr/lib/sctk/bin"


@functools.cache
def find() -> Path | str:
    """The directory of sclite and sc_stats, or why there is none."""
    for folder in (os.environ.get("SCTK_BIN", ""), f"/{BINARIES}"):
        if folder and (Path(folder) / "sclite").is_file():
            return Path(folder)
    if found := shutil.which("sclite"):
        return Path(found).parent
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return "sclite is not installed, and there is no apt-get to fetch Debian's sctk with"
    kept = Path(tempfile.mkdtemp(prefix="seqkd-sctk-"))
    atexit.register(shutil.rmtree, kept, ignore_errors=True)
    # Unpacked, not installed: no root needed, nothing changed on the machine. Where it has no package lists, they are
    # fetched into the same folder.
    (kept / "lists" / "partial").mkdir(parents=True)
    (kept / "cache" / "archives" / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={kept / 'lists'}", "-o", f"Dir::Cache={kept / 'cache'}"]
    last = run(kept, "apt-get", "download", "sctk")
    if last is not None and run(kept, "apt-get", *own, "update") is None:
        last = run(kept, "apt-get", *own, "download", "sctk")
    if last is None:
        last = run(kept, "sh", "-c", "dpkg -x sctk_*.deb root")
    if last is not None:
        return f"sclite is not installed, and Debian's sctk could not be fetched: {last}"
    return kept / "root" / BINARIES


def run(folder: Path, *command: str) -> str | None:
    """None if the command succeeds, else the last line of what it complains of."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than two minutes"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def require() -> Path:
    """The directory, or skip the test with the reason."""
    found = find()
    if isinstance(found, str):
        print(f"skipped: {found}")
        pytest.skip(found)
    return found


def write_trn(path: Path, transcripts: dict[str, str]) -> None:
    path.write_text("".join(f"{text} ({utterance})\n" for utterance, text in transcripts.items()), encoding="utf-8")


def sclite(folder: Path, name: str, *flags: str) -> str:
    """Align ``folder/name`` with ``folder/ref``; returns the alignments, in sclite's SGML."""
    command = [require() / "sclite", "-r", "ref", "trn", "-h", name, "trn", name, "-i", "spu_id", "-s", *flags]
    subprocess.run([*command, "-o", "sgml", "sum", "-O", ".", "-n", name], cwd=folder, check=True, capture_output=True)
    return (folder / f"{name}.sgml").read_text("utf-8")


def alignments(sgml: str) -> dict[str, list[tuple[str, str, str]]]:
    """Operation, reference word and hypothesis word of each utterance."""
    paths = re.findall(r'<PATH id="\((.*?)\)"[^>]*>\n(.*?)\n?</PATH>', sgml, re.S)
    step = re.compile(r'(?:^|:)([CSDI]),"?([^",]*)"?,"?([^",:]*)"?')
    return {utterance: step.findall(steps) for utterance, steps in paths}


def speaker_rows(folder: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Sentences, words, correct, substitutions, deletions, insertions, errors, wrong sentences of each speaker."""
    command = [require() / "sclite", "-r", "ref", "trn", "-h", name, "trn", name, "-i", "spu_id", "-s"]
    done = subprocess.run([*command, "-o", "rsum", "stdout"], cwd=folder, check=True, capture_output=True, text=True)
    rows = re.findall(r"^\s*\|\s*(\S+)\s*\|\s*(\d+)\s+(\d+)\s*\|\s*((?:\d+\s+){5}\d+)\s*\|$", done.stdout, re.M)
    return {speaker: (int(sentences), int(words), *map(int, rest.split())) for speaker, sentences, words, rest in rows}


def matched_pairs(folder: Path, a: str, b: str) -> tuple[int, str, str, str]:
    """Segments, mean, deviation and Z of sc_stats, as printed; both systems must have been aligned."""
    # sclite's own piped format is one that Debian's sc_stats cannot read; its files are.
    both = b"".join((folder / f"{name}.sgml").read_bytes() for name in (a, b))
    command = [require() / "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "-"]
    done = subprocess.run(command, input=both, cwd=folder, capture_output=True, check=True)
    found = re.search(rb"\(# segs: (\d+)\).*\(mean: +(\S+)\) \(std dev: +(\S+)\) \(Z Stat: +(\S+)\)", done.stdout)
    segments, *numbers = (value.decode() for value in found.groups())
    return int(segments), *numbers
