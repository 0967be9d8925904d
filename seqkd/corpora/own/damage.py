"""Every audio file of an import decoded once, and what is damaged either named or left out with a list."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seqkd.data.sound import CANCEL, DamagedSound, WholeSound, converted_by_ffmpeg, is_video, look_at
from seqkd.errors import DataError
from seqkd.files import write_json, write_text
from seqkd.uptodate import file_state

LOOKS = ".looks.json"  # in the data directory: what was found in which file, so that it is decoded once
LIST = "damaged.txt"  # in the data directory: what was left out, a file a line
_MIND = "mend it, or take it out of the list"


class Looks:
    """What audio files were found to be, kept for the next try while size, inode and times stay as they are."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / LOOKS
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
            self._known = {str(path): entry for path, entry in known.items() if isinstance(entry, list)}
        except (OSError, ValueError, AttributeError):  # none yet, or damaged: all is decoded
            self._known = {}
        self._fresh = False

    def at(self, files: Sequence[Path], nj: int) -> dict[Path, WholeSound | str]:
        """Decode files that are not known, ``nj`` at the same time: what each is, or what is wrong with it."""
        from seqkd.progress import ProgressBar

        found: dict[Path, WholeSound | str] = {}
        todo = []
        for file in files:
            entry = self._known.get(str(file.absolute()))
            if entry is not None and len(entry) == 9 and entry[:4] == file_state(file):
                found[file] = WholeSound(*entry[4:])
            else:
                todo.append(file)
        try:
            with ThreadPoolExecutor(max(nj, 1)) as pool:
                try:
                    bar = ProgressBar(pool.map(_look, todo), desc="audio", total=len(todo), unit="file")
                    for file, (look, state) in zip(todo, bar, strict=True):
                        found[file] = look
                        if state is not None and isinstance(look, WholeSound):
                            self._known[str(file.absolute())] = [*state, *vars(look).values()]
                            self._fresh = True
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:  # whatever is refused later, and where it was broken off, too
            self._save()
        return {file: found[file] for file in files}

    def _save(self) -> None:
        if self._fresh:
            with contextlib.suppress(OSError):  # a disk that takes nothing: files are decoded again
                write_json(self._file, self._known)
            self._fresh = False


def _look(file: Path) -> tuple[WholeSound | str, list[int] | None]:
    """What a file is, and its state; no state if it changed meanwhile."""
    try:
        before = file_state(file)
        look: WholeSound | str = look_at(file)
        return look, before if file_state(file) == before else None
    except DamagedSound as fault:
        return fault.reason, None
    except DataError as fault:
        return str(fault).removeprefix(f"{file} "), None


def faults_of(looks: Mapping[Path, WholeSound | str], *, mixed: bool, channel: int | None) -> dict[Path, str]:
    """What is wrong with files, as predicates.

    Args:
        looks: Of all files.
        mixed: Whether several channels are to become one.
        channel: Which one, from 1; None for their average.
    """
    faults = {}
    for file, look in looks.items():
        if isinstance(look, str):
            video = look.startswith("cannot be read") and is_video(file)
            faults[file] = converted_by_ffmpeg(file) if video else look
        elif mixed and channel is None and look.cancels:
            faults[file] = f"{CANCEL} (set corpus.channel=1 to take the first)"
        elif mixed and channel is not None and 1 < look.channels < channel:
            faults[file] = f"has {look.channels} channels, but corpus.channel is {channel}"
    return faults


def settle(faults: Mapping[Path, str], skip: bool) -> None:
    """Raise DataError about the first fault; or, if they are to be skipped, say how many files are left out."""
    if not faults:
        return
    (file, fault), *others = faults.items()
    if skip:
        print(f"{len(faults)} damaged files are left out ({file} {fault}, for one)", file=sys.stderr)
        return
    if fault.startswith("is ") and "ffmpeg" in fault:  # what to do stands there
        raise DataError(f"{file} {fault}")
    more = f" ({len(faults)} files have faults in all.)" if others else ""
    raise DataError(f"{file} {fault}; {_MIND}, or set corpus.skip_damaged=true to leave such files out.{more}")


def list_damaged(data_dir: Path, faults: Mapping[Path, str], *, again: bool) -> None:
    """Write what was left out; remove an older list if nothing was, and this is not the first import."""
    path = data_dir / LIST
    lines = "".join(f"{file} {fault}\n" for file, fault in sorted(faults.items()))
    if lines:
        if not path.is_file() or path.read_text(encoding="utf-8") != lines:
            write_text(path, lines)
        print(f"they are listed in {path}", file=sys.stderr)
    elif again:
        path.unlink(missing_ok=True)
