"""How far a long piece of work is: one bar on a terminal, a line a minute in a log file, both with an estimate."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from tqdm import tqdm

LINE_EVERY = 60.0  # seconds between two lines of a log file
LEFT = "min left"  # what such a line ends with


class ProgressBar(tqdm):
    """A bar of tqdm's on a terminal. Elsewhere it prints ``speech: utt 657/900, 0.2 min left`` once a minute.

    Takes what tqdm takes. Work of less than a minute prints nothing in a log file.
    """

    def __init__(self, iterable: Iterable[Any] | None = None, **options: Any) -> None:
        self.terminal = draws()
        if not self.terminal:
            # miniters: else tqdm's monitor, a thread, prints lines of its own.
            options |= {"mininterval": LINE_EVERY, "maxinterval": LINE_EVERY, "delay": LINE_EVERY, "miniters": 1}
        super().__init__(iterable, **{"dynamic_ncols": True, **options})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or print a line."""
        if self.terminal:
            super().display(msg, pos)
        else:
            print_line(self.line())

    def line(self) -> str:
        """What a log file gets."""
        now = self.format_dict
        shown = f", {now['postfix']}" if now["postfix"] else ""
        done, left = now["n"] - now["initial"], ""
        if done and now["total"]:
            left = f", {now['elapsed'] / done * (now['total'] - now['n']) / 60:.1f} {LEFT}"
        return f"{now['prefix']}: {now['unit']} {now['n']:g}/{now['total'] or '?'}{shown}{left}"

    def clear(self, *arguments: Any, **options: Any) -> None:
        """Wipe the bar off a terminal."""
        if self.terminal:
            super().clear(*arguments, **options)

    def close(self) -> None:
        """End the bar. A log file gets no last line: what comes next shows that the work is done."""
        if not self.terminal:
            self.delay = float("inf")
        super().close()


def last_line(log: Path) -> str:
    """The newest of a log file's lines on how far its work is; empty if there is none yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line for line in reversed(lines) if line.endswith(LEFT)), "")


class AboveTheBar(logging.Handler):
    """Writes messages to standard error, on a terminal above the bar that is being drawn there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        if draws():
            tqdm.write(self.format(record), file=sys.stderr)
        else:
            print_line(self.format(record))


def draws() -> bool:
    """Whether this process draws bars. A forked one has copies of its parent's, but only the parent draws them."""
    return sys.stderr.isatty() and parent_process() is None


def print_line(text: str) -> None:
    """Print a line to standard error, on a terminal over the bar of the parent process, which draws it again."""
    print(f"\r\033[K{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def log_to_terminal() -> None:
    """Show what seqkd logs, and only warnings of the libraries."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[AboveTheBar()])
    logging.getLogger("seqkd").setLevel(logging.INFO)
