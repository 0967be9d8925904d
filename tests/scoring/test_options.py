"""The command line of ``seqkd score``: what would have no effect is refused."""

import pytest

from seqkd.cli.score import OF_MEETINGS, file_parser, main
from seqkd.errors import ConfigError

FILES = ["--ref", "r.stm", "--hyp", "h.stm"]
# Every option but those of meetings, with a value that is not its default.
OTHERS = {
    "--html": "x", "--align": "x", "--wer": None, "--baseline": "h", "--details": None, "--missing": "all",
    "--extra": "drop", "--format": "trn", "--reading": "strict", "--encoding": "latin1", "--fragments": None,
    "--costs": "4,3,3", "--rules": "x", "--mixed": None, "--formatted": None, "--keywords": "x", "--tagged": None,
    "--markup": "all", "--cer-spaces": "ignore", "--tokens": "x", "--utt2spk": "x", "--utt2dur": "x",
    "--utt2group": "a=x", "--nbest": "h=x", "--confusions": "7", "--replicates": "7", "--seed": "7",
}  # fmt: skip


@pytest.mark.parametrize("option", OTHERS)
def test_options_that_meetings_do_not_use(option):
    given = [option] if OTHERS[option] is None else [option, OTHERS[option]]
    with pytest.raises(
        ConfigError, match=f"^{option} would have no effect with --meeting tcp; leave out what has none$"
    ):
        main([*FILES, *given, "--collar", "3", "--meeting", "tcp"])


def test_all_are_named_at_once():
    every = [text for pair in OTHERS.items() for text in pair if text is not None]
    with pytest.raises(ConfigError, match=", ".join(OTHERS)) as fault:
        main([*FILES, *every, "--collar", "3", "--meeting", "cp"])
    assert ", --collar would have no effect with --meeting cp;" in str(fault.value)


def test_every_option_is_used_by_meetings_or_refused():
    known = {action.dest for action in file_parser()._actions} - {"help", "recipe", "collar"}
    assert known == OF_MEETINGS | {option.removeprefix("--").replace("-", "_") for option in OTHERS}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--collar", "3"], "--collar would have no effect without --meeting tcp or tcorc"),
        (["--wer", "--details"], "--details would have no effect with --wer"),
    ],
)
def test_options_without_effect_elsewhere(given, said):
    with pytest.raises(ConfigError, match=said):
        main([*FILES, *given])


def test_defaults_may_be_spelled_out(tmp_path, capsys):
    (tmp_path / "r.stm").write_text("m 1 a 0 1 x\n")
    files = ["--ref", str(tmp_path / "r.stm"), "--hyp", f"h={tmp_path / 'r.stm'}"]
    assert main([*files, "--meeting", "cp", "--missing", "error", "--collar", "5", "--markup", "auto"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:3] == ["h", "0.00", "0"]
