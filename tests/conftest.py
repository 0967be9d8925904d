"""Fixtures that several rooms share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

# Tests of one room must not take the cores that another's run on.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

gc.disable()  # until `pytest_collection_finish`


def pytest_collection_finish() -> None:
    """Look for garbage only among what tests make: what was imported, a million objects, stays."""
    gc.freeze()
    gc.enable()


# These ask for the same settings of every system, which are put together once a process.
SETTINGS = ("tests/cli/test_ranges.py", "tests/cli/test_commands.py", "tests/test_docs.py")


def process_of(test: str) -> str:
    """Which tests share a process, when several run them: those that share what takes long to make."""
    file, _, name = test.partition("::")
    room, _, module = file.removeprefix("tests/").partition("/")
    if room == "deploy" or (room == "shots" and "/" not in module and module != "test_recipe.py"):
        return room  # an exported model, trained assistants
    if file in SETTINGS:
        return "settings"
    if room == "recipes" and "[" in name:
        return file + name[name.index("[") :].partition("-")[0]  # each recipe of a file by itself
    return file


@pytest.hookimpl(optionalhook=True)  # of xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Share tests among processes by `process_of`, in the order in which they were collected."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return process_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


# Seconds of one idle core, about, of what takes long, by `process_of`. Others with a mark count 60, all others 0.
SECONDS = {
    "tests/recipes/test_seq2seq_ls.py[dates_en_de]": 200,
    "tests/recipes/test_smoke.py[asterisk_prompts]": 180,
    "tests/recipes/test_smoke.py[espeak_voices]": 170,
    "tests/recipes/test_seq2seq_ls.py[manpages_en_de]": 160,
    "tests/ctc/test_cuda_lanes.py": 150,
    "tests/ctc/test_cuda_build.py": 140,
    "tests/machines/test_slurm.py": 130,
    "tests/training/test_resume.py": 130,
    "tests/shots/test_recipe.py": 120,
    "tests/training/test_distributed.py": 90,
    "tests/machines/test_torchrun.py": 80,
    "deploy": 110,
    "settings": 90,
    "tests/cli/test_pipeline.py": 70,
    "shots": 60,
    "tests/recipes/test_librispeech.py": 60,
    "tests/recipes/test_imported.py[transformers]": 60,
    "tests/recipes/test_imported.py[torchaudio]": 50,
    "tests/machines/test_tune.py": 40,
    "tests/machines/test_sweep.py": 40,
    "tests/cli/test_seq2seq_pipeline.py": 40,
    "tests/shots/audio/test_compiled.py": 30,
    "tests/test_adding_a_method.py": 30,
    "tests/test_light_install.py": 20,
    "tests/statistics/test_mapsswe.py": 20,
    "tests/statistics/test_bootstrap.py": 20,
    "tests/translation/test_report.py": 20,
    "tests/teachers/test_ctc_book.py": 20,
    "tests/experiment/test_report.py": 20,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that in the end no process is left alone with them."""

    def seconds(item: pytest.Item) -> int:
        marked = item.get_closest_marker("recipe") or item.get_closest_marker("slow")
        return SECONDS.get(process_of(item.nodeid), 60 if marked else 0)

    items.sort(key=seconds, reverse=True)


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with features: train (24), extra (12, no transcripts) and dev (8) of the tone corpus."""
    from seqkd.data.features import FeatureSettings, make_features
    from tests.tone_corpus import RATE, make_tone_set

    data = tmp_path_factory.mktemp("tones")
    make_tone_set(data, "train", 24, seed=1)
    make_tone_set(data, "extra", 12, seed=2, transcripts=False)
    make_tone_set(data, "dev", 8, seed=3)
    for name in ("train", "extra", "dev"):
        make_features(data / name, FeatureSettings(sample_rate=RATE, num_mel_bins=20), nj=1)
    return data


@pytest.fixture(scope="session")
def tone_exp(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment directory with a tokenizer and a (barely trained) teacher for the tone corpus."""
    from tests.runs import train_here

    exp = tmp_path_factory.mktemp("exp")
    train_here(exp, tones, "teacher")
    return exp


@pytest.fixture(scope="session")
def songs_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets of songs with features: train (8 songs of 50 s), dev (4) and test (4)."""
    from tests.shots.songs import write_set

    data = tmp_path_factory.mktemp("songs")
    for seed, (name, count) in enumerate({"train": 8, "dev": 4, "test": 4}.items()):
        write_set(data, name, count, 50, noise=2.0, seed=seed)
    return data


@pytest.fixture(scope="session")
def shots_exp(songs_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment directory with the assistants of the songs and their teacher, seed 0."""
    from tests.shots.songs import train_here

    exp = tmp_path_factory.mktemp("shots_exp")
    train_here(exp, songs_data, "assistant_1s", "assistant_2s", "assistant_4s", "teacher")
    return exp


@pytest.fixture(scope="session")
def pairs_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentence pairs: train, dev and test."""
    from tests.pairs_corpus import make_corpus

    return make_corpus(tmp_path_factory.mktemp("pairs") / "data")


@pytest.fixture(scope="session")
def clips_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets of clips with features: train (24 clips of 3 classes), dev (12) and test (12)."""
    from tests.clip_corpus import make_corpus, prepare

    data = make_corpus(tmp_path_factory.mktemp("clips"))
    prepare(data / "exp", data)
    return data


@pytest.fixture(scope="session")
def clips_exp(clips_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment directory with a (barely trained) teacher of clips, seed 0."""
    from tests.clip_corpus import train_here

    exp = tmp_path_factory.mktemp("clips_exp")
    train_here(exp, clips_data, "teacher")
    return exp
