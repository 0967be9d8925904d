"""A made-up translation experiment: systems of known quality that are known to be over-confident, or not."""

import json

import numpy as np
import yaml

from seqkd.tasks.translation.scores import TranslationScores

WORDS = [f"{start}{vowel}{end}" for start in "bdfgklmn" for vowel in "aeiou" for end in ("", "r", "st")]
NUMBERS = {word: number for number, word in enumerate(WORDS, start=2)}


def encode(text):
    """Text to tokens: a word each."""
    return [NUMBERS[word] for word in text.split()]


class Scores(TranslationScores):
    """The task's scores, of a tokenizer that needs no file."""

    def tokens(self, cfg):
        return "words"

    def encoder(self, cfg):
        return encode


def make_references(directory, test_sets, sentences=150, seed=0):
    """Write ``<set>/tgt`` and return the texts by set."""
    generator = np.random.default_rng(seed)
    references = {}
    for name in test_sets:
        references[name] = {
            f"{name}-{index:04d}": " ".join(generator.choice(WORDS, size=generator.integers(4, 18)))
            for index in range(sentences)
        }
        path = directory / name / "tgt"
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{sentence} {text}\n" for sentence, text in references[name].items()))
    return references


def predict(generator, count, quality, sharpness):
    """(count,) probabilities of being right, and confidences whose log-odds are ``sharpness`` times theirs."""
    odds = generator.normal(quality, 1.5, size=count)
    return 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-sharpness * odds))


def make_decoding(directory, references, quality, *, sharpness=1.0, seed=0):
    """Write ``hyp.jsonl`` and ``forced.npz`` of one test set."""
    directory.mkdir(parents=True)
    lines, forced = [], {name: [] for name in ("confidence", "correct", "nll", "brier")}
    for index, (sentence, text) in enumerate(references.items()):
        # The same sentences are hard for every system.
        own = np.random.default_rng([seed, index])
        hard = np.random.default_rng([99, index]).normal(0, 0.7)
        truth, confidence = predict(own, len(text.split()), quality - hard, sharpness)
        right = own.random(len(truth)) < truth
        words = [word if ok else str(own.choice(WORDS)) for word, ok in zip(text.split(), right, strict=True)]
        lines.append(
            {
                "id": sentence,
                "text": " ".join(words),
                "tokens": encode(" ".join(words)),
                "confidences": [float(np.float32(value)) for value in confidence],
                "score": float(np.log(confidence).mean()),
                "end_confidence": 0.9,
            }
        )
        truth, confidence = predict(own, len(truth) + 1, quality - hard, sharpness)
        correct = own.random(len(truth)) < truth
        of_right = np.where(correct, confidence, (1 - confidence) / 4)
        forced["confidence"].append(confidence)
        forced["correct"].append(correct)
        forced["nll"].append(-np.log(of_right))
        forced["brier"].append(confidence**2 + (1 - confidence) ** 2 / 4 - 2 * of_right + 1)
    (directory / "hyp.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = {name: np.concatenate(values) for name, values in forced.items()}
    np.savez(
        directory / "forced.npz",
        ids=np.array(list(references)),
        lengths=np.array([len(text.split()) + 1 for text in references.values()]),
        correct=columns.pop("correct"),
        **{name: values.astype(np.float32) for name, values in columns.items()},
    )


def make_run(directory, references, quality, *, sharpness=1.0, alpha=None, seed=0, steps=2000, minutes=3.0, **config):
    """Write one finished run; ``alpha`` makes it one with smoothing, whose prior is renewed twice."""
    directory.mkdir(parents=True)
    for name, texts in references.items():
        make_decoding(
            directory / f"decode_{name}", texts, quality, sharpness=sharpness, seed=seed + int(1000 * quality)
        )
    settings = {"seed": seed, "data": {"dir": "/somewhere/else/data"}, "training": {"steps": steps}}
    (directory / "config.yaml").write_text(yaml.safe_dump({**settings, **config}))
    generator = np.random.default_rng(seed)
    rows = []
    for step in range(100, steps + 1, 100):
        left = 0.5 ** (step / 300)
        train = {"total": 5 * left + 1, "hard": 4 * left + 1}
        if alpha is not None:
            train |= {"soft": left, "labels.alpha": alpha * (1 - left) * generator.uniform(0.95, 1.05)}
        row = {"step": step, "seconds": 60 * minutes * step / steps, "lr": 1e-3, "train": train}
        row["dev_nll"] = (6 * left + 1.5 / quality) * generator.uniform(0.97, 1.03)
        if alpha is not None and step >= 500:
            row["prior_step"] = 500 if step < 1200 else 1200
        rows.append(row)
    (directory / "history.json").write_text(json.dumps({"rows": rows}))
    summary = {
        "label": directory.parent.name,
        "seed": seed,
        "parameters": 1_250_000,
        "steps": steps,
        "passes": 1,
        "train_seconds": 60 * minutes,
        "device": "cpu",
        "best_dev_nll": min(row["dev_nll"] for row in rows),
    }
    (directory / "summary.json").write_text(json.dumps(summary))
