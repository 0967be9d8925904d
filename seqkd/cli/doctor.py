"""``seqkd doctor``: what is here, what is missing, and how to get it."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys

from seqkd import __version__

# distribution, import name, what needs it, how to get it
LIBRARIES = [
    ("torch", "torch", "the losses", "pip install 'seqkd[losses]'"),
    ("numpy", "numpy", "scoring", "pip install numpy"),
    ("rapidfuzz", "rapidfuzz", "scoring", "pip install rapidfuzz"),
    ("torchaudio", "torchaudio", "features", "pip install 'seqkd[recipes]'"),
    ("lightning", "lightning", "training", "pip install 'seqkd[recipes]'"),
    ("lhotse", "lhotse", "batching", "pip install 'seqkd[recipes]'"),
    ("hydra-core", "hydra", "settings", "pip install 'seqkd[recipes]'"),
    ("sentencepiece", "sentencepiece", "tokenizers", "pip install 'seqkd[recipes]'"),
    ("soundfile", "soundfile", "reading audio", "pip install 'seqkd[recipes]'"),
    ("safetensors", "safetensors", "models and features on disk", "pip install 'seqkd[recipes]'"),
    ("matplotlib", "matplotlib", "figures", "pip install 'seqkd[recipes]'"),
    ("tensorboard", "tensorboard", "training logs", "pip install 'seqkd[recipes]'"),
    ("sacrebleu", "sacrebleu", "BLEU and chrF", "pip install 'seqkd[recipes]'"),
    ("librosa", "librosa", "features of music", "pip install 'seqkd[recipes]'"),
    ("espeakng-loader", "espeakng_loader", "the espeak_voices corpus", "pip install 'seqkd[synth]'"),
    ("babel", "babel", "the dates_en_de corpus", "pip install 'seqkd[synth]'"),
    ("num2words", "num2words", "the dates_en_de corpus", "pip install 'seqkd[synth]'"),
    ("transformers", "transformers", "teachers from Hugging Face", "pip install 'seqkd[hf]'"),
    ("onnx", "onnx", "seqkd export", "pip install 'seqkd[export]'"),
    ("onnxscript", "onnxscript", "seqkd export", "pip install 'seqkd[export]'"),
    ("onnxruntime", "onnxruntime", "seqkd export, seqkd transcribe", "pip install 'seqkd[export]'"),
    ("flashlight-text", "flashlight", "language models in binaries of KenLM's", "pip install 'seqkd[lm]'"),
    (
        "hydra-submitit-launcher",
        "hydra_plugins.hydra_submitit_launcher",
        "sweeps on Slurm",
        "pip install 'seqkd[slurm]'",
    ),
    ("opentimelineio", "opentimelineio", "seqkd shots, for .otio and .fcpxml", "pip install 'seqkd[edit]'"),
    ("otio-fcpx-xml-adapter", "otio_fcpx_xml_adapter", "seqkd shots, for .fcpxml", "pip install 'seqkd[edit]'"),
]
# From which Python on there is none, as the extras of pyproject.toml have it.
NO_WHEEL = {"flashlight-text": (3, 13), "opentimelineio": (3, 14), "otio-fcpx-xml-adapter": (3, 14)}
PROGRAMS = [
    ("apt-get", "the corpora asterisk_prompts (without it, an upstream tarball is tried) and manpages_en_de"),
    ("dpkg", "the corpora asterisk_prompts (without it, an upstream tarball is tried) and manpages_en_de"),
]


def main(argv: list[str]) -> int:
    """Entry point; status 1 when something that the scorer needs is missing."""
    argparse.ArgumentParser(prog="seqkd doctor", description="Print versions, devices and what is missing.").parse_args(
        argv
    )
    print(f"seqkd {__version__}, Python {platform.python_version()} at {sys.executable}")
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    missing_base = False
    print("\nlibraries")
    for distribution, module, purpose, remedy in LIBRARIES:
        if is_here(module):
            print(f"  {distribution:<24}{importlib.metadata.version(distribution)}")
        else:
            missing_base |= distribution in ("numpy", "rapidfuzz")
            if sys.version_info >= NO_WHEEL.get(distribution, (99,)):
                remedy = f"it has no wheel for Python {sys.version_info[0]}.{sys.version_info[1]}: use an older one"
            print(f"  {distribution:<24}MISSING: {purpose} needs it; {remedy}")
    print("\nprograms")
    for program, purpose in PROGRAMS:
        print(f"  {program:<24}{shutil.which(program) or f'not found: used by {purpose}'}")
    if importlib.util.find_spec("torch"):
        devices()
    return int(missing_base)


def is_here(module: str) -> bool:
    """Whether a module can be imported; one inside a package is looked for by importing the package."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def devices() -> None:
    """Devices, the torch/torchaudio match, and which CTC backend 'auto' is."""
    import torch

    print("\ndevices")
    print(f"  CPU                   {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        print(f"  cuda:{index}                {torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        print("  no usable GPU: training runs on the CPU")
    if importlib.util.find_spec("torchaudio"):
        ours, theirs = (importlib.metadata.version(name).split("+")[0] for name in ("torch", "torchaudio"))
        if ours.split(".")[:2] != theirs.split(".")[:2]:
            print(f"  torch {ours} and torchaudio {theirs} are NOT a matching pair: see local/constraints.txt")
    print("\ncompiled parts (CTC losses, backend 'auto')")
    from seqkd.ctc import cpu, cuda

    for name, backend in (("CPU", cpu), ("CUDA", cuda)):
        here, why = backend.available()
        kernels = "our kernels" + (f", {cpu.kernels()}" if here and backend is cpu else "")
        print(f"  {name:<24}" + (kernels if here else f"torch's own operator: {why}"))
