"""A made-up experiment directory with known errors."""

import json
import random

import yaml
from omegaconf import DictConfig, OmegaConf

from seqkd.scoring import write_text

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven"]


def settings(root, test_sets, **report) -> DictConfig:
    """The part of a recipe's settings that scoring and reporting look at; ``report`` are settings of that name."""
    about = {"out": str(root / "RESULTS.md"), "notes": [], "replicates": 500, "expect": {}, **report}
    return OmegaConf.create(
        {
            "exp": str(root / "exp"),
            "data": str(root / "data"),
            "title": "A title",
            "seed": 0,
            "sets": {"test": list(test_sets)},
            "report": about,
        }
    )


def make_references(directory, test_sets, utterances=200, seed=0):
    source = random.Random(seed)
    references = {}
    for test_set in test_sets:
        references[test_set] = {
            f"{test_set}-{i:04d}": " ".join(source.choices(WORDS, k=source.randint(2, 6))) for i in range(utterances)
        }
        write_text(directory / test_set / "text", references[test_set])
    return references


def spoil(references, rate, seed):
    """Replace, drop or double about ``rate`` of the words; every system finds the same utterances hard."""
    source = random.Random(seed)
    hypotheses = {}
    for utterance, text in references.items():
        difficulty = 2 * random.Random(utterance).random()
        hypothesis = []
        for word in text.split():
            fate = source.random() / (rate * difficulty)
            if fate < 0.2:
                continue
            hypothesis += [word, word] if fate < 0.3 else ["eight"] if fate < 1 else [word]
        hypotheses[utterance] = " ".join(hypothesis)
    return hypotheses


def make_run(directory, references, rate, *, seed, steps=2000, passes=1, terms=("ctc",), minutes=2.0, **config):
    """Write one finished run whose WER is about ``rate``."""
    directory.mkdir(parents=True)
    for test_set, texts in references.items():
        write_text(
            directory / f"decode_{test_set}" / "text",
            spoil(texts, rate, seed=f"{directory.parent.name} {seed} {test_set}"),
        )
    settings = {
        "seed": seed,
        "data": {"dir": "/somewhere/else/data", "bins": 40},
        "training": {"steps": steps},
    }
    (directory / "config.yaml").write_text(yaml.safe_dump({**settings, **config}))
    source = random.Random(seed)
    rows = []
    for step in range(100, steps + 1, 100):
        left = 0.5 ** (step / 150)
        loss = {
            term: (40 * left + 2) * source.uniform(0.9, 1.1) * (0.2 if term == "consistency" else 1) for term in terms
        }
        dev_wer = (rate + (1 - rate) * left) * source.uniform(0.92, 1.08)
        row = {"step": step, "seconds": 60 * minutes * step / steps, "dev_wer": dev_wer, "lr": 1e-3}
        rows.append({**row, "train": {"total": sum(loss.values()), **loss}})
    (directory / "history.json").write_text(json.dumps({"rows": rows}))
    summary = {
        "system": directory.parent.name,
        "seed": seed,
        "parameters": 78_000,
        "steps": steps,
        "passes": passes,
        "train_seconds": 60 * minutes,
        "device": "cpu",
        "best_dev_wer": min(row["dev_wer"] for row in rows),
        "labelled_hours": 0.5,
        "unlabelled_hours": 0.0,
    }
    (directory / "summary.json").write_text(json.dumps(summary))
