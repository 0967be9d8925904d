"""Commands in a ``wav.scp`` (``sphere2pipe -f wav x.sph |``) replaced by the files that they write.

They are never run unasked: first they are shown, and only a user who has seen them has them run, once.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.tables import read_table
from seqkd.errors import DataError
from seqkd.files import atomic_directory, atomic_path


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

    Files appear whole and those that are there are kept, so that it can be broken off and run again.

    Returns:
        How many commands were run.

    Raises:
        DataError: A command fails, or what it writes is no audio; which, and what it said.
    """
    import soundfile

    piped = find_commands(directory)
    audio, run = out.with_name(f"{out.name}.audio"), 0
    lines = {key: str(_absolute(directory, value)) for key, value in piped.files.items()}
    for key, command in piped.commands.items():
        target = audio / f"{key.replace('/', '_')}.wav"
        lines[key] = str(target.absolute())
        if target.is_file():
            continue
        done = subprocess.run(command, shell=True, capture_output=True, check=False)
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:]
        if done.returncode:
            raise DataError(f"The command of {key!r} fails with status {done.returncode}: {command} ({said}).")
        try:
            samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="int16", always_2d=True)
        except soundfile.SoundFileError as error:
            raise DataError(f"The command of {key!r} writes no audio ({error}): {command} ({said}).") from error
        with atomic_path(target) as temporary:
            soundfile.write(temporary, samples, rate, "PCM_16", format="WAV")
        run += 1
    with atomic_directory(out) as temporary:
        for path in directory.iterdir():
            if path.is_file() and path.name != "wav.scp" and not path.name.startswith("."):
                shutil.copy(path, temporary / path.name)
        text = "".join(f"{key} {lines[key]}\n" for key in sorted(lines))
        (temporary / "wav.scp").write_text(text, encoding="utf-8")
    return run


def _absolute(directory: Path, value: str) -> Path:
    return (directory / value if (directory / value).is_file() else Path(value)).absolute()
