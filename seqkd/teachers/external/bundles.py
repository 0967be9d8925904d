"""Teachers of torchaudio: its bundles of pretrained CTC models, and directories with a model of one's own.

A directory holds ``model.safetensors`` (the state dict) and ``torchaudio.json``: the factory in ``torchaudio.models``
and its arguments, labels, blank, word boundary, sample rate, and whether the waveform is normalised first.
`save_torchaudio` writes one.

Letters: n samples, T frames, C classes.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_json
from seqkd.teachers.external.descriptions import check_fields, one_line, read_json
from seqkd.teachers.external.network import NetworkTeacher, receptive_field
from seqkd.teachers.external.vocabulary import Vocabulary

NAME = "torchaudio.json"
FACTORIES = ("wav2vec2_model", "wavlm_model")
FIELDS = {"factory", "arguments", "labels", "blank", "word_boundary", "sample_rate", "normalize_waveform"}


def open_bundle(name: str, device: str = "cpu") -> NetworkTeacher:
    """A bundle such as ``WAV2VEC2_ASR_BASE_960H``; its weights are downloaded once, to torch's hub directory.

    Raises:
        ConfigError: no such bundle, one without CTC labels, or weights that cannot be had.
        DataError: weights that are damaged, or that would have to be unpickled.
    """
    from torchaudio import pipelines
    from torchaudio.pipelines import Wav2Vec2ASRBundle

    known = sorted(key for key, value in vars(pipelines).items() if isinstance(value, Wav2Vec2ASRBundle))
    if name not in known:
        raise ConfigError(f"torchaudio has no bundle {name!r} with CTC labels; it has {', '.join(known)}")
    bundle = getattr(pipelines, name)
    try:
        # What was downloaded is read as tensors and nothing else: torch's default here would unpickle it.
        network = bundle.get_model(dl_kwargs={"weights_only": True})
    except OSError as error:  # URLError is one
        raise ConfigError(
            f"the weights of {name} cannot be downloaded ({one_line(error)}); check the network, or name a directory "
            "written by seqkd.teachers.external.bundles.save_torchaudio"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DataError(
            f"the weights of {name} are damaged or hold more than tensors ({one_line(error)}); delete them from "
            f"{torch.hub.get_dir()} and run again"
        ) from error
    inner = network.model if hasattr(network, "model") else network
    # The bundles themselves call their blank '-'.
    vocabulary = Vocabulary.of(bundle.get_labels(blank="<blank>"), 0, "|", where=name)
    convolutions = [(layer.kernel_size, layer.stride) for layer in inner.feature_extractor.conv_layers]
    return _teacher(name, network, vocabulary, int(bundle.sample_rate), convolutions, False, device)


def save_torchaudio(
    directory: Path | str,
    network: nn.Module,
    arguments: Mapping[str, Any],
    labels: Sequence[str],
    *,
    factory: str = "wav2vec2_model",
    blank: int = 0,
    word_boundary: str | None = "|",
    sample_rate: int = 16000,
    normalize_waveform: bool = False,
) -> None:
    """Write a directory that `open_torchaudio` reads.

    Args:
        directory: is made if it is not there.
        network: what ``factory`` made.
        arguments: all arguments of the factory.
        labels: C texts, one a class.
        factory: ``wav2vec2_model`` or ``wavlm_model`` of ``torchaudio.models``.
        blank: class of the blank.
        word_boundary: label between words.
        sample_rate: in Hz.
        normalize_waveform: whether the network expects waveforms of mean 0 and variance 1.
    """
    from safetensors.torch import save_file

    directory = Path(directory)
    write_json(
        directory / NAME,
        {
            "factory": factory,
            "arguments": dict(arguments),
            "labels": list(labels),
            "blank": blank,
            "word_boundary": word_boundary,
            "sample_rate": sample_rate,
            "normalize_waveform": normalize_waveform,
        },
    )
    with atomic_path(directory / "model.safetensors") as path:
        save_file({key: value.detach().cpu().clone() for key, value in network.state_dict().items()}, path)


def open_torchaudio(directory: Path | str, device: str = "cpu") -> NetworkTeacher:
    """A directory written by `save_torchaudio`.

    Raises:
        ConfigError: a description that no model can be made from.
        DataError: a file that is missing or damaged, or weights that do not fit the description.
    """
    import torchaudio
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    directory = Path(directory)
    path, weights = directory / NAME, directory / "model.safetensors"
    about = read_json(path)
    check_fields(path, about, FIELDS)
    if about["factory"] not in FACTORIES:
        raise ConfigError(f"{path}: the factory is {about['factory']!r}; expected one of {', '.join(FACTORIES)}")
    vocabulary = Vocabulary.of(about["labels"], about["blank"], about["word_boundary"], where=str(path))
    classes = about["arguments"].get("aux_num_out") if isinstance(about["arguments"], dict) else None
    if classes != len(vocabulary):
        raise ConfigError(
            f"{path}: aux_num_out is {classes} and there are {len(vocabulary)} labels; expected one class a label"
        )
    if not isinstance(about["sample_rate"], int) or about["sample_rate"] < 1:
        raise ConfigError(f"{path}: the sample rate is {about['sample_rate']!r}; expected a number of Hz")
    try:
        network = getattr(torchaudio.models, about["factory"])(**about["arguments"])
        convolutions = [(kernel, stride) for _, kernel, stride in about["arguments"]["extractor_conv_layer_config"]]
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"{path}: torchaudio.models.{about['factory']} refuses the arguments ({one_line(error)})"
        ) from (error)
    if not weights.is_file():
        raise DataError(
            f"{weights} is missing; write the directory again with seqkd.teachers.external.bundles.save_torchaudio"
        )
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"{weights} cannot be loaded ({one_line(error)}); write the directory again") from error
    normalize = bool(about["normalize_waveform"])
    return _teacher(directory.name, network, vocabulary, about["sample_rate"], convolutions, normalize, device)


def _teacher(
    name: str,
    network: nn.Module,
    vocabulary: Vocabulary,
    sample_rate: int,
    convolutions: list[tuple[int, int]],
    normalize: bool,
    device: str,
) -> NetworkTeacher:
    network.to(device)
    kernels, strides = zip(*convolutions, strict=True)

    def ask(samples: Tensor) -> Tensor:
        waveform = samples[None].to(device)
        if normalize:
            waveform = nn.functional.layer_norm(waveform, waveform.shape)
        return network(waveform)[0][0]

    return NetworkTeacher(
        name,
        network,
        ask,
        vocabulary=vocabulary,
        frame_shift_ms=1000 * math.prod(strides) / sample_rate,
        sample_rate=sample_rate,
        shortest=receptive_field(kernels, strides),
        settings={"normalize_waveform": normalize},
    )
