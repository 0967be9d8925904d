"""A folder with a page, a model and the runtime; everything is inside, and nothing is fetched when it runs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import asdict
from importlib import metadata, resources
from pathlib import Path
from typing import Any

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
from seqkd.deploy.streaming.network import OnnxStep
from seqkd.deploy.web.runtime import SCRIPT, VERSION, read_runtime, script
from seqkd.files import write_json, write_text

PAGE = "page for a browser"
SOURCES = ("style.css", "features.js", "audio.js", "words.js", "recogniser.js", "streaming.js", "plot.js", "page.js")
PAGE_FILES = (
    "index.html",
    *(f"page/{name}" for name in SOURCES),
    "model/model.js",
    f"runtime/{SCRIPT}",
    "runtime/runtime.js",
)


def write_page(export_dir: Path, out: Path, *, int8: bool = False, runtime: Path | None = None) -> bool:
    """Write the folder ``out`` with a page that recognises speech; return False when it was there and up to date.

    ``index.html`` is opened by a double click, or served as it is. It computes features, runs the network on one
    thread, and finds words, times and confidences as `seqkd.deploy.transcribe.transcribe` does with greedy search; of a
    model that streams as `seqkd.deploy.streaming.recogniser.StreamRecogniser` does.

    Args:
        export_dir: what `seqkd.deploy.export.export_model` wrote.
        out: a folder that is new, empty or an older page.
        int8: take the network with 8-bit weights.
        runtime: where the files of ONNX Runtime Web are; None: npm fetches them.

    Raises:
        ConfigError: the runtime cannot be had, or ``out`` cannot be written or holds something else.
        DataError: the export is not whole.
    """
    export, bundle = read_export(export_dir), open_bundle(export_dir, int8=int8)
    streaming = export.get("streaming")
    names = (STREAM, STREAM_INT8) if streaming else (FLOAT, INT8)
    name = names[int8]
    check_file(export_dir, name, export)
    static = resources.files("seqkd.deploy.web") / "static"
    sources = {source: (static / source).read_text("utf-8") for source in ("index.html", *SOURCES)}
    described = describe(export, bundle, int8)
    if streaming:
        described["streaming"] = {
            "chunk": streaming["chunk"],
            "delay": streaming["delay"],
            "state": state_of(OnnxStep(export_dir / name)),
        }
    made_by = {"model": export["files"][name], "described": described, "runtime": VERSION, "page": _hash(sources)}
    if is_whole(out, made_by, PAGE_FILES, PAGE):
        return False
    files = read_runtime(runtime)
    network = gzip.compress((export_dir / name).read_bytes(), 9, mtime=0)
    model = {**described, "network": base64.b64encode(network).decode()}
    with export_directory(out, PAGE) as directory:
        for part in ("page", "model", "runtime"):
            (directory / part).mkdir()
        for source, text in sources.items():
            write_text(directory / ("" if source == "index.html" else "page") / source, text)
        write_text(directory / "model" / "model.js", f"(globalThis.seqkd ??= {{}}).model = {json.dumps(model)};\n")
        (directory / "runtime" / SCRIPT).write_bytes(files[SCRIPT])
        write_text(directory / "runtime" / "runtime.js", script(files))
        written = {"format": FORMAT, "of": PAGE, "made_by": made_by}
        write_json(directory / "export.json", {**written, "files": describe_files(directory, PAGE_FILES)})
    return True


def state_of(step: OnnxStep) -> dict[str, dict[str, Any]]:
    """Type and shape of each tensor of a stream's state."""
    return {name: {"type": str(value.dtype), "shape": list(value.shape)} for name, value in step.state().items()}


def _hash(sources: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def describe(export: dict[str, Any], bundle: Bundle, int8: bool) -> dict[str, Any]:
    """What the page has to know of the model, but for its network. Times are in seconds."""
    origin = export["made_by"].get("origin") or {}
    parts = [
        origin.get("title"),
        f"{export['parameters']:,} parameters{' in 8 bits' if int8 else ''}",
        f"speech at {bundle.features.sample_rate:,} Hz",
        f"licence of the weights: {origin['licence']}" if origin.get("licence") else None,
    ]
    return {
        "label": origin.get("label") or "Speech recogniser",
        "about": " · ".join(part for part in parts if part),
        "version": metadata.version("seqkd"),
        "features": asdict(bundle.features),
        "units": list(bundle.tokenizer.units),
        "shift": bundle.times.shift,
        "centre": bundle.times.centre,
        "blank_penalty": bundle.blank_penalty,
    }
