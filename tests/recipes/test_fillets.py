"""The recipe of Fish Fillets up to its features, on a small tree in place of the packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import Tokenizer
from tests.corpora.speech.fillets_game import save_game

CONF = Path(__file__).parents[2] / "egs" / "fillets_dialogues" / "ctc_kd" / "conf"


@pytest.mark.parametrize("preset", ["default", "smoke"])
def test_the_recipe_gets_its_corpus_ready(preset: str, tmp_path: Path) -> None:
    game, data = save_game(tmp_path / "game"), tmp_path / "data"
    common = ["--task", "asr", "--conf", str(CONF), "--preset", preset, "--nj", "1"]
    common += ["--exp", str(tmp_path / "exp"), "--data", str(data), f"corpus.downloads={game}"]
    common.append("corpus.sets.train_small.utterances=6")
    assert main(["stages", "corpus", "prepare", "--", *common]) == 0
    units = set(Tokenizer.load(tmp_path / "exp" / "tokens").units)
    assert {"ě", "š", "r"} <= units
    train, test = ({u.text for u in read_data_dir(data / name)} for name in ("train", "test"))
    assert test and not train & test
    languages = {u.speaker[:2] for u in read_data_dir(data / "train")}
    assert languages == ({"cs", "nl"} if preset == "default" else {"cs"})
