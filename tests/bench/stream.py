"""Measures streams beside whole recordings: real-time factor and memory on one core; writes stream.md.

    python -m tests.bench.stream EXPORT ...

Each EXPORT is the export directory of a streaming system, such as exp/stream/kd_stream/seed0/export of the recipe
espeak_voices. Every number is of a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from seqkd.deploy.extras import versions
from seqkd.experiment.provenance import describe_environment
from seqkd.files import write_text
from tests.bench.word_times import RATE, speak, with_noise

SECONDS = (60, 300)
MILLISECONDS = (160, 640)  # of a chunk
BLOCK = 0.08  # seconds that a microphone gives at a time


def recording(path: Path, seconds: int) -> None:
    """Phrases of digits, a second of noise after each, until there are so many seconds."""
    rng, pieces, length = np.random.default_rng(0), [], 0
    spoken = speak()
    while length < seconds * RATE:
        for number, one in enumerate(spoken):
            noise = 0.003 * rng.standard_normal(RATE)
            pieces += [with_noise(one.samples, 15.0, number), noise.astype(np.float32)]
            length += len(one.samples) + RATE
    soundfile.write(path, np.concatenate(pieces)[: seconds * RATE], RATE, subtype="PCM_16")


def worker(export: str, audio: str, milliseconds: str) -> None:
    """Recognise a recording, as a stream of chunks or (0) whole; print CPU seconds and memory as JSON."""
    torch.set_num_threads(1)
    samples, _ = soundfile.read(audio, dtype="float32")
    run = streaming(Path(export), int(milliseconds)) if int(milliseconds) else whole(Path(export))
    run(samples[: 2 * RATE])  # libraries and buffers that the first call brings
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    words = run(samples)
    spent = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"spent": spent, "words": words, "grown": (peak - before) / 1024, "peak": peak / 1024}))


def whole(export: Path):
    """Recognition of samples (N,) by pieces of up to half a minute; gives the number of words."""
    from seqkd.deploy.audio import cut
    from seqkd.deploy.bundle import open_bundle
    from seqkd.deploy.transcribe import recognise

    bundle = open_bundle(export)
    return lambda samples: sum(len(recognise(bundle, piece)) for piece in cut([samples], RATE))


def streaming(export: Path, milliseconds: int):
    """Recognition of samples (N,) that come in blocks."""
    from seqkd.deploy.streaming.network import open_stream
    from seqkd.deploy.streaming.recogniser import StreamRecogniser

    bundle = open_stream(export)
    chunk = round(milliseconds / 1000 / bundle.times.shift)
    bundle = open_stream(export, chunk=chunk)
    size = round(BLOCK * RATE)

    def run(samples: np.ndarray) -> int:
        recogniser, words = StreamRecogniser(bundle), 0
        for place in range(0, len(samples), size):
            block = torch.from_numpy(samples[place : place + size])
            words += sum(len(one.words) for one in recogniser.push(block))
        return words + sum(len(one.words) for one in recogniser.finish())

    return run


def measured(export: Path, audio: Path, milliseconds: int) -> dict[str, float]:
    """What `worker` prints, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.stream", "--worker", str(export), str(audio), str(milliseconds)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return json.loads(done.stdout.splitlines()[-1])


def rows(export: Path, recordings: dict[int, Path]) -> list[str]:
    """Table rows of one system."""
    described = json.loads((export / "export.json").read_text())
    name = described["made_by"]["origin"]["label"] or export.name
    ahead = described["streaming"]["delay"] * 40
    lines = []
    for milliseconds in (0, *MILLISECONDS):
        cells = []
        for seconds, audio in recordings.items():
            found = measured(export, audio, milliseconds)
            cells += [f"{found['spent'] / seconds:.4f}", f"{found['grown']:.1f}", f"{found['words']:,}"]
        how = f"stream, {milliseconds} ms at a time" if milliseconds else "whole, pieces of up to 30 s"
        lines.append(f"| {name} | {ahead} | {how} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure everything and write the page."""
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
        return
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        recordings = {seconds: Path(scratch) / f"{seconds}.wav" for seconds in SECONDS}
        for seconds, path in recordings.items():
            recording(path, seconds)
        lines = [line for export in sys.argv[1:] for line in rows(Path(export), recordings)]
    software = ", ".join(f"{name} {version}" for name, version in versions().items() if name != "seqkd")
    head = " | ".join(f"{s // 60} min: factor | MiB | words" for s in SECONDS)
    text = f"""# Streams beside whole recordings: speed and memory

Generated by `python -m tests.bench.stream`: {describe_environment()["CPU"]}, load {load:.1f} at the start; {software}.

Digits spoken by espeak-ng, with pauses. Everything from samples to words with times (features, network, greedy search),
on one thread. Factor: CPU seconds for a second of sound, so that what else the machine does counts little. MiB: by how
much the process grows, after the model is loaded and two seconds were recognised. A stream is given {BLOCK * 1000:.0f}
ms of sound at a time. Both ways use the same weights; the whole recording is recognised under the masks of the chunk
that the model was trained to be decoded in.

| system | ahead, ms | how | {head} |
| --- | ---: | --- | {" | ".join(["---: | ---: | ---:"] * len(SECONDS))} |
{chr(10).join(lines)}
"""
    write_text(Path(__file__).with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
