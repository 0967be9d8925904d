"""Measures the forms of a book: size, what they keep, how fast they are written and read; writes book.md.

    python -m tests.bench.book

Run it on an idle machine: it uses one core for about a minute and a half a gigabyte of memory and disk.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from seqkd.files import write_text
from seqkd.knowledge import Book, BookWriter, Dense, Manifest, Sampled, TeacherId, TopK, info
from seqkd.losses.sparse import densify, sparse_divergence

CLASSES, RATE = 500, 25  # units of a sentencepiece tokenizer, frames a second
SECONDS, UTTERANCES, BATCH, RUNS = 12, 240, 16, 3
FORMS = [Dense(), TopK(1), TopK(8), TopK(32), Sampled(10), Sampled(50)]
HOURS = 960


def posteriors() -> dict[str, Tensor]:
    """Peaky posteriors such as those of a trained CTC model: (T, C) log-probabilities by utterance id.

    Every frame has noise (σ 1.5) on all classes, a winner with a lead of 15 ± 2.5 nats (the blank, but for a token
    every 5 frames on average), and a rival that is exponentially (mean 4 nats) behind the winner.
    """
    generator = torch.Generator().manual_seed(0)
    frames = SECONDS * RATE
    made = {}
    for number in range(UTTERANCES):
        z = 1.5 * torch.randn(frames, CLASSES, generator=generator)
        lead = (15 + 2.5 * torch.randn(frames, generator=generator)).clamp(min=6)
        behind = -4 * torch.rand(frames, generator=generator).log()
        token, rival = torch.randint(1, CLASSES, (2, frames), generator=generator)
        spike = torch.rand(frames, generator=generator) < 1 / 5
        z[torch.arange(frames), token.where(spike, 0)] += lead
        z[torch.arange(frames), rival] += (lead - behind).clamp(min=0)
        made[f"utt{number:05d}"] = z.log_softmax(-1)
    return made


def seconds(work: Callable[[], object]) -> float:
    """Median time of a few runs."""
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(form: Dense | TopK | Sampled, entries: dict[str, Tensor]) -> str:
    """A row of the table."""
    manifest = Manifest(
        teachers=(TeacherId("made up", "0"),),
        units="0",
        classes=CLASSES,
        blank=0,
        frame_shift_ms=1000 / RATE,
        form=form,
    )
    with tempfile.TemporaryDirectory() as scratch:
        directories = iter(Path(scratch) / str(run) for run in range(RUNS))

        def write() -> None:
            with BookWriter(next(directories), manifest) as writer:
                for utterance, log_probs in entries.items():
                    writer.add(utterance, log_probs)

        write_seconds = seconds(write)
        found = info(Path(scratch) / "0")
        book = Book.open(Path(scratch) / "0")
        ids = list(book.utterances)
        random.Random(0).shuffle(ids)
        batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        dense_seconds = seconds(lambda: [book.collate(batch) for batch in batches])
        sparse_seconds = seconds(lambda: [book.collate_sparse(batch) for batch in batches])
        distance, classes = error(book, entries)
    name = form.name + "".join(
        f" {value}" for value in (getattr(form, "k", None) or getattr(form, "draws", None),) if value
    )
    gigabytes = HOURS * 3600 * RATE * found.bits_per_frame / 8 / 1e9
    cells = [
        f"{found.bits_per_frame:,.0f}",
        f"{gigabytes:,.1f}",
        f"{found.retained_mass:.5f}",
        f"{classes:.1f}",
        distance,
        f"{found.frames / write_seconds / 1e3:,.0f}",
        f"{found.bytes / write_seconds / 1e6:,.1f}",
        f"{found.frames / dense_seconds / 1e3:,.0f}",
        f"{found.frames / sparse_seconds / 1e3:,.0f}",
        f"{found.bytes / sparse_seconds / 1e6:,.1f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def error(book: Book, entries: dict[str, Tensor]) -> tuple[str, float]:
    """Mean Σ_c |what is read − live| of a frame, with the tail spread, and mean number of classes that are kept."""
    total, kept, frames = 0.0, 0.0, 0
    for utterance in book.utterances:
        live, sparse = entries[utterance], book.read(utterance).sparse()
        total += (densify(sparse, CLASSES) - live.exp()).abs().sum().item()
        kept += (sparse.classes >= 0).sum().item()
        frames += len(live)
    return f"{total / frames:.5f}", kept / frames


def loss_row(entries: dict[str, Tensor]) -> str:
    """Time of the divergence, forward and backward, from sparse targets against dense ones."""
    ids = list(entries)[:BATCH]
    z = torch.randn(
        sum(len(entries[i]) for i in ids), CLASSES, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    live = torch.cat([entries[i] for i in ids])
    form = TopK(8)
    kept = form.sparse(form.encode(live.double().numpy(), "")[0], CLASSES)

    def dense() -> None:
        torch.nn.functional.kl_div(z.log_softmax(-1), live, log_target=True, reduction="sum").backward()

    def sparse() -> None:
        sparse_divergence(z.log_softmax(-1), kept).sum().backward()

    def ghost() -> None:
        sparse_divergence(z.log_softmax(-1), kept, "ghost").sum().backward()

    for work in (dense, sparse, ghost):
        work()
    times = [1e3 * min(seconds(work) for _ in range(5)) for work in (dense, sparse, ghost)]
    return (
        f"A batch of {BATCH} utterances ({len(z):,} frames), log-softmax and divergence, forward and backward: dense\n"
        f"target {times[0]:.0f} ms, top-k 8 with its tail spread {times[1]:.0f} ms, as a ghost class {times[2]:.0f} ms."
    )


def main() -> None:
    """Measure everything and write the table."""
    torch.set_num_threads(1)
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    entries = posteriors()
    best = torch.cat(list(entries.values()))
    entropy, blank = torch.special.entr(best.exp()).sum(-1).mean(), (best.argmax(-1) == 0).float().mean()
    rows = "\n".join(measure(form, entries) for form in FORMS)
    text = f"""# The book: what its forms take, keep and cost

Generated by `python -m tests.bench.book`: {processor}, {os.cpu_count()} cores, torch {torch.__version__}.
{UTTERANCES} utterances of {SECONDS} s, C{CLASSES}, {RATE} frames a second: made-up posteriors as peaky as those of a
trained CTC model ({blank:.0%} of the frames blank, {entropy:.3f} nats a frame on average). One thread, medians of {RUNS} runs;
reading in random order in batches of {BATCH}, checksums included, from the entry cache.

Bits a frame count the whole file. Error is the mean over frames of Σ_c |t read − t|, with the tail spread; that of the
sampled forms is the noise of one book, and its mean over seeds is 0.

| form | bits a frame | GB for {HOURS} h | retained mass | classes kept | error | write, k frames/s | write, MB/s | read as (B, T, C), k frames/s | read as (B, T, K), k frames/s | read, MB/s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

{loss_row(entries)}
"""  # noqa: E501 - a row of a table is one line
    write_text(Path(__file__).with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
