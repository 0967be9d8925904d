"""Commands in a ``wav.scp`` (``sphere2pipe -f wav x.sph |``) replaced by the files that they write.

They are never run unasked: first they are shown, and only a user who has seen them has them run, once.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.sound import DamagedSound, look_at
from seqkd.data.tables import read_table
from seqkd.errors import DataError
from seqkd.files import atomic_path, check_name, check_ours, mark, own_directory
from seqkd.uptodate import fingerprint

_BLOCK = 10  # seconds that are in memory at once
_LONGEST = 40  # characters of an id that its file's name begins with


@dataclass(frozen=True)
class Piped:
    """The commands of a data directory by recording id, and the ids whose audio is a file already."""

    commands: dict[str, str]
    files: dict[str, str]

    def programs(self) -> dict[str, int]:
        """How many commands there are by the program that each begins with."""
        return dict(Counter(command.split()[0] for command in self.commands.values()).most_common())


def find_commands(directory: Path) -> Piped:
    """Read ``wav.scp``. Raises DataError where it is malformed, or has no commands."""
    table = read_table(directory / "wav.scp", "an id and an audio file, or a command and a bar")
    commands = {key: entry.value[:-1].strip() for key, entry in table.items() if entry.value.endswith("|")}
    if not commands:
        raise DataError(f"{directory / 'wav.scp'} has no commands; use the directory as it is.")
    return Piped(commands, {key: entry.value for key, entry in table.items() if key not in commands})


def unpipe(directory: Path, out: Path) -> int:
    """Run every command, as a shell does, in the current directory; write ``out``, a data directory with the files.

    Files appear whole, and those that the same command has written are kept: it can be broken off and run again.

    Returns:
        How many commands were run.

    Raises:
        DataError: A command fails, or what it writes is no audio, or not all of it; which, and what it said. Or ``out``
            was not written by this.
    """
    piped = find_commands(directory)
    audio, run = out.with_name(f"{out.name}.audio"), 0
    if audio.is_dir() and out.is_dir():  # of an earlier run, perhaps by a version that left no mark
        mark(out)
    check_ours(out)
    check_name(audio)
    lines = {key: str(_absolute(directory, value)) for key, value in piped.files.items()}
    for key, command in piped.commands.items():
        # Of the whole id, of which the name may have a part only, and of the command, which may have been corrected.
        target = audio / f"{key.replace('/', '_')[:_LONGEST]}-{fingerprint(key, command)}.wav"
        lines[key] = str(target.absolute())
        if not target.is_file():
            _run(key, command, target)
            run += 1
    with own_directory(out) as temporary:
        for path in directory.iterdir():
            if path.is_file() and path.name != "wav.scp" and not path.name.startswith("."):
                shutil.copy(path, temporary / path.name)
        text = "".join(f"{key} {lines[key]}\n" for key in sorted(lines))
        (temporary / "wav.scp").write_text(text, encoding="utf-8")
    return run


def _run(key: str, command: str, target: Path) -> None:
    """Run a command, and write what it writes as 16-bit WAV, if that is whole."""
    import soundfile

    target.parent.mkdir(parents=True, exist_ok=True)
    # A pipe cannot be looked at twice: what comes out is held against its own header first.
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".tmp-") as spool:
        done = subprocess.run(command, shell=True, stdout=spool, stderr=subprocess.PIPE, check=False)
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:]
        if done.returncode:
            raise DataError(f"The command of {key!r} fails with status {done.returncode}: {command} ({said}).")
        try:
            look_at(Path(spool.name))
        except DamagedSound as fault:
            what = "no audio" if fault.reason.startswith("cannot be read") else "audio that is not whole"
            raise DataError(f"The command of {key!r} writes {what} ({fault.reason}): {command} ({said}).") from fault
        with soundfile.SoundFile(spool.name) as source, atomic_path(target) as temporary:
            form = (temporary, "w", source.samplerate, source.channels, "PCM_16")
            with soundfile.SoundFile(*form, format="WAV") as file:
                while len(block := source.read(_BLOCK * source.samplerate, dtype="int16", always_2d=True)):
                    file.write(block)


def _absolute(directory: Path, value: str) -> Path:
    return (directory / value if (directory / value).is_file() else Path(value)).absolute()
