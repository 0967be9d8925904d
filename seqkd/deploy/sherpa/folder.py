"""A folder that sherpa-onnx takes: both networks, ``tokens.txt``, and a page that says how to run it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqkd.data.features import FeatureSettings
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.deploy.bundle import (
    FLOAT,
    FORMAT,
    INT8,
    STREAM,
    STREAM_INT8,
    Bundle,
    check_file,
    describe_files,
    export_directory,
    is_whole,
    open_bundle,
    read_export,
)
from seqkd.deploy.extras import need, versions
from seqkd.deploy.sherpa.graph import EDGE, SHERPA_INPUTS, SHERPA_OUTPUTS, adapt, fine_count, sherpa_fbank
from seqkd.deploy.sherpa.stream import adapt_stream, chunk_of, tail_seconds
from seqkd.errors import ConfigError
from seqkd.files import write_json, write_text

SHERPA, TOKENS = "model for sherpa-onnx", "tokens.txt"
SHERPA_FILES = (FLOAT, INT8, TOKENS, "README.md")
FRAMES = {"frame_length_ms": 25.0, "frame_shift_ms": 10.0}  # sherpa-onnx has no setting for them
FACTOR = 4  # feature frames an encoder frame, as sherpa-onnx takes it for the times of units
DROPPED = ("SIL", "</s>")  # units that sherpa-onnx leaves out of a transcript


@dataclass(frozen=True)
class Differences:
    """On how many of ``utterances`` the networks of the folder find other units than those of the export."""

    utterances: int
    changed: int
    int8_changed: int


def write_sherpa(export_dir: Path, out: Path, tests: Sequence[Path] = ()) -> bool:
    """Write the folder ``out`` for sherpa-onnx; return False when it was there, whole and up to date.

    Args:
        export_dir: what `seqkd.deploy.export.export_model` wrote.
        out: a folder that is new, empty or an older one of these.
        tests: data directories. On each utterance the networks are run on features as sherpa-onnx computes them, and
            README.md says on how many they find other units than the export does.

    Raises:
        ConfigError: sherpa-onnx cannot run the model, in one sentence which part of its contract is not met; or
            ``out`` cannot be written or holds something else.
        DataError: the export or a test set is not whole.
    """
    need("onnx", "onnxruntime")
    export, bundle, int8 = read_export(export_dir), open_bundle(export_dir), open_bundle(export_dir, int8=True)
    check_file(export_dir, "README.md", export)
    if reason := unmet(bundle):
        raise ConfigError(f"{export_dir} cannot be run by sherpa-onnx: {reason}")
    made_by = {
        "export": export["files"],
        "blank_penalty": bundle.blank_penalty,
        "versions": versions(),
        "tests": [[path.name, _fingerprint(path)] for path in tests],
    }
    streaming = export.get("streaming")
    files = (*SHERPA_FILES, STREAM, STREAM_INT8) if streaming else SHERPA_FILES
    if is_whole(out, made_by, files, SHERPA):
        return False
    with export_directory(out, SHERPA) as directory:
        settings, tokenizer = bundle.features, bundle.tokenizer
        metadata = {
            "model_type": "zipformer2_ctc",
            "version": 1,
            "model_author": "seqkd",
            "comment": "CTC recogniser written by seqkd export --sherpa",
            "vocab_size": len(tokenizer),
            "subsampling_factor": FACTOR,
            "sample_rate": settings.sample_rate,
            "feature_dim": fine_count(settings),
        }
        for name in (FLOAT, INT8):
            adapt(export_dir / name, directory / name, settings, bundle.blank_penalty, metadata)
        if streaming:
            for name in (STREAM, STREAM_INT8):
                check_file(export_dir, name, export)
                source, penalty = export_dir / name, bundle.blank_penalty
                adapt_stream(source, directory / name, settings, penalty, streaming, metadata)
        write_text(directory / TOKENS, tokens(tokenizer))
        agreements = {path.name: compare(bundle, int8, directory, path) for path in tests}
        write_text(
            directory / "README.md",
            readme(settings, agreements) + (stream_readme(settings, streaming) if streaming else ""),
        )
        written = {"format": FORMAT, "of": SHERPA, "made_by": made_by}
        write_json(directory / "export.json", {**written, "files": describe_files(directory, files)})
    return True


def unmet(bundle: Bundle) -> str | None:
    """Which part of sherpa-onnx's contract a model does not meet, and what to do; None when it meets all."""
    settings, units = bundle.features, bundle.tokenizer.units
    for key, value in FRAMES.items():
        if getattr(settings, key) != value:
            return (
                f"its features have {key} {getattr(settings, key):g}, sherpa-onnx computes them with {value:g} only; "
                f"train it with features.{key}={value:g}"
            )
    factor = 1000 * bundle.times.shift / settings.frame_shift_ms
    if round(factor, 6) != FACTOR:
        return f"it has an output every {factor:g} frames, sherpa-onnx takes every {FACTOR} for its times"
    for unit in DROPPED:
        if unit in units:
            return f"it has a unit {unit!r}, which sherpa-onnx leaves out of transcripts; train it with other units"
    highest = max(max(unit.removeprefix("▁").encode() or b"\0") for unit in units)
    if highest == 0xC6:
        return "sherpa-onnx takes units whose highest byte is C6 for byte-level BPE; train it with other units"
    return None


def tokens(tokenizer: Tokenizer) -> str:
    """``tokens.txt``: a unit and its id on each line."""
    return "".join(f"{unit} {index}\n" for index, unit in enumerate(tokenizer.units))


def compare(bundle: Bundle, int8: Bundle, directory: Path, data: Path) -> Differences:
    """Run the utterances of a data directory, one by one, through an export's networks and a folder's."""
    import onnxruntime

    from seqkd.data.features import fbank, read_samples
    from seqkd.data.kaldi import read_data_dir
    from seqkd.progress import ProgressBar

    settings, changed = bundle.features, [0, 0]
    sessions = [
        onnxruntime.InferenceSession(directory / name, providers=["CPUExecutionProvider"]) for name in (FLOAT, INT8)
    ]
    utterances = read_data_dir(data)
    for utterance in ProgressBar(utterances, desc=f"sherpa-onnx's features of {data.name}", unit="utt"):
        samples = read_samples(utterance, settings.sample_rate)
        ours, theirs = fbank(samples, settings), sherpa_fbank(samples, settings)
        inputs = {SHERPA_INPUTS[0]: theirs[None].numpy(), SHERPA_INPUTS[1]: torch.tensor([len(theirs)]).numpy()}
        for place, (one, session) in enumerate(zip((bundle, int8), sessions, strict=True)):
            expected = one.network(ours[None], torch.tensor([len(ours)]))
            found = [torch.from_numpy(value) for value in session.run(SHERPA_OUTPUTS, inputs)]
            units = greedy_decode(expected.logits, expected.lengths, blank_penalty=bundle.blank_penalty)
            changed[place] += greedy_decode(*found) != units
    return Differences(len(utterances), *changed)


def readme(settings: FeatureSettings, agreements: dict[str, Differences]) -> str:
    """The page that says how to run it, and how well it agrees."""
    rate, count = settings.sample_rate, fine_count(settings)
    measured = "No test set was at hand to compare on."
    if agreements:
        rows = [f"| {k} | {a.utterances:,} | {a.changed:,} | {a.int8_changed:,} |" for k, a in agreements.items()]
        measured = (
            "Greedy results that differ from those of the export it was made from, on features as sherpa-onnx computes "
            f"them:\n\n| set | utterances | `{FLOAT}` | `{INT8}` |\n| --- | ---: | ---: | ---: |\n" + "\n".join(rows)
        )
    return f"""# A recogniser for sherpa-onnx

Model type: Zipformer CTC, offline. Generated by `seqkd export --sherpa`.

```python
import sherpa_onnx, soundfile
recognizer = sherpa_onnx.OfflineRecognizer.from_zipformer_ctc(
    "{FLOAT}", "{TOKENS}", sample_rate={rate}, feature_dim={count}
)
stream = recognizer.create_stream()
samples, rate = soundfile.read("speech.wav", dtype="float32")
stream.accept_waveform(rate, samples)
recognizer.decode_stream(stream)
print(stream.result.text)
```

or, by its command:

```sh
sherpa-onnx-offline --zipformer-ctc-model={FLOAT} --tokens={TOKENS} --sample-rate={rate} --feat-dim={count} speech.wav
```

Give `feature_dim={count}` and leave all other settings of its features as they are. The network was trained on
{settings.num_mel_bins} filters of samples of 16 bits up to {rate // 2:,} Hz; sherpa-onnx has samples in [-1, 1] and
ends {EDGE:g} Hz lower. The graph adds its {count} narrow filters up to those {settings.num_mel_bins}.

{measured}

- It is decoded greedily; sherpa-onnx gives the start of each unit, but no ends of words and no confidences.
- A recording is recognised in one piece: cut long ones at pauses, for instance with sherpa-onnx's voice activity
  detection.
"""


def stream_readme(settings: FeatureSettings, streaming: dict[str, Any]) -> str:
    """The part of the page on ``stream.onnx``."""
    rate, tail = settings.sample_rate, tail_seconds(streaming, settings)
    return f"""
## While someone speaks

Model type: Zipformer2 CTC, online; chunks of {40 * chunk_of(streaming)} ms. The network looks
{40 * streaming["delay"]} ms ahead: the times of its units are so much late.

```python
recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
    "{TOKENS}", "{STREAM}", sample_rate={rate}, feature_dim={fine_count(settings)}
)
stream = recognizer.create_stream()
stream.accept_waveform(rate, samples)  # as they come
stream.accept_waveform({rate}, [0.0] * {round(tail * rate)})  # at the end: {tail:g} s, so that the last chunk is full
stream.input_finished()
while recognizer.is_ready(stream):
    recognizer.decode_stream(stream)
print(recognizer.get_result(stream))
```

`{STREAM_INT8}` is the same with 8-bit weights: in {streaming["check"]["int8_utterances_changed"]:,} of
{streaming["check"]["utterances"]:,} utterances it finds other units than `{STREAM}`.
"""


def _fingerprint(data: Path) -> Any:
    path = data / "feats" / "done.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
