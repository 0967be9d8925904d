"""What a person sees of long work: a bar on a terminal, lines in a log file, messages that do not mix with either."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from seqkd import progress
from seqkd.progress import AboveTheBar, ProgressBar


class Terminal:
    """Standard error that is a terminal, and what was written there."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def fileno(self):
        raise OSError

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.fixture
def message():
    return logging.LogRecord("seqkd", logging.INFO, "", 0, "test: 7 utterances", None, None)


def test_a_log_file_gets_a_line_a_minute_with_an_estimate(capsys):
    now = [0.0]
    bar = ProgressBar(total=900, initial=100, desc="speech", unit="utt")
    bar._time = lambda: now[0]
    bar.start_t = bar.last_print_t = 0.0
    bar.set_postfix_str("dev WER 3.21 %", refresh=False)
    for second in range(1, 131):
        now[0] = second
        bar.update(2)
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    # 800 were left, and 2 are done a second: 400 s in all.
    assert lines == [
        "speech: utt 220/900, dev WER 3.21 %, 5.7 min left",
        "speech: utt 340/900, dev WER 3.21 %, 4.7 min left",
    ]


def test_short_work_leaves_nothing_in_a_log_file(capsys):
    assert list(ProgressBar(range(3), desc="features of train")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_and_messages_above_it(monkeypatch, message):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar(
        total=4, desc="decoding", unit="set", dynamic_ncols=False, ncols=80, miniters=1, mininterval=0
    ) as bar:
        bar.update(2)
        before = len(terminal.text)
        AboveTheBar().emit(message)
        after = terminal.text[before:]
    assert "\rdecoding:  50%|" in terminal.text[:before]
    assert terminal.text[:before].count("\n") == 0  # one line
    wiped, _, drawn = after.partition("test: 7 utterances\n")
    assert wiped.strip() == ""
    assert drawn.startswith("\rdecoding:  50%|")
    assert terminal.text.count("\n") == 2  # after the message, and after the bar


def test_a_forked_process_draws_no_bar_of_its_parents(monkeypatch, message):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar(total=4, desc="decoding", dynamic_ncols=False, ncols=80):
        before = len(terminal.text)
        monkeypatch.setattr(progress, "parent_process", lambda: "the parent")
        AboveTheBar().emit(message)
        assert terminal.text[before:] == "\r\033[Ktest: 7 utterances\n"
        assert not ProgressBar(total=1).terminal


def test_libraries_are_silent_below_a_warning():
    code = """
import logging
from seqkd.progress import log_to_terminal

log_to_terminal()
logging.getLogger("matplotlib.font_manager").info("generated new fontManager")
logging.getLogger("seqkd").info("test: 7 utterances")
logging.getLogger("lightning").warning("a fault")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "test: 7 utterances\na fault\n"
