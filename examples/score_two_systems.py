"""Score two systems on the same references: error rates, intervals, and whether the difference is significant."""

import random

from seqkd.scoring import paired_bootstrap, score

WORDS = ["turn", "the", "light", "on", "off", "in", "kitchen", "please", "and", "play", "some", "music", "louder"]


def spoiled(words: list[str], rate: float, source: random.Random) -> str:
    """A recogniser's output: some words wrong, some missing."""
    wrong = [source.choice(WORDS) if source.random() < rate else word for word in words]
    return " ".join(word for word in wrong if source.random() > rate / 4)


def main() -> float:
    """Print both error rates, a few alignments and the test; return the p-value."""
    source = random.Random(0)
    references = {f"utt{number:03}": source.choices(WORDS, k=source.randint(4, 12)) for number in range(200)}
    texts = {name: " ".join(words) for name, words in references.items()}
    systems = {
        system: score(texts, {name: spoiled(words, rate, source) for name, words in references.items()})
        for system, rate in (("baseline", 0.16), ("student", 0.11))
    }
    for name, result in systems.items():
        low, high = result.wer.ci95
        print(
            f"{name}: {100 * result.wer.rate:.1f} % WER [{100 * low:.1f}, {100 * high:.1f}], {result.wer.errors} errors"
        )
    baseline, student = (systems[name].utterances.words for name in ("baseline", "student"))
    test = paired_bootstrap(student.errors, baseline.errors, student.length)
    print(f"student less baseline: {100 * test.delta:+.1f} points, p = {test.p_value:.4f} (paired bootstrap)")
    return test.p_value


if __name__ == "__main__":
    main()
