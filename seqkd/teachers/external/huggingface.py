"""CTC models of Hugging Face transformers as teachers: ``Wav2Vec2ForCTC``, ``HubertForCTC``, ``WavLMForCTC``,
``Wav2Vec2BertForCTC``, ``ParakeetForCTC`` and whatever else has convolutions on waveforms and a CTC head.

The model's own feature extractor says how a waveform is normalised. Weights are read from safetensors only, and code
that lies beside them is never run.

Letters: n samples, T frames, C classes.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.teachers.external.audio import FrameTeacher, SequenceTeacher
from seqkd.teachers.external.huggingface_files import loaded, name_of, weights
from seqkd.teachers.external.huggingface_writing import open_writing
from seqkd.teachers.external.network import NetworkTeacher, receptive_field
from seqkd.teachers.external.vocabulary import BOUNDARY, Vocabulary

_WINDOW_MS, _STEP_MS = 25, 10  # of the filterbanks that some models take


def open_huggingface(
    source: str, *, device: str = "cpu", language: str | None = None, beam: int = 5
) -> FrameTeacher | SequenceTeacher:
    """A model by hub name or local directory.

    Args:
        source: such as ``facebook/wav2vec2-base-960h``, or a directory written by ``save_pretrained`` of the model and
            of its processor.
        device: of torch.
        language: what a Whisper that knows several languages shall expect, such as "en".
        beam: of the search of an encoder-decoder model.

    Returns:
        A `NetworkTeacher` for a CTC model, a `WritingTeacher` for an encoder-decoder model.

    Raises:
        ConfigError: transformers is not installed; the model cannot be had, is of another kind, has no safetensors,
            or weights, labels and configuration that do not belong together.
    """
    config = loaded(source, lambda auto: auto.AutoConfig.from_pretrained(source, trust_remote_code=False))
    kind = (config.architectures or [type(config).__name__])[0]
    if kind.endswith("ForCTC"):
        return _open_ctc(source, config, device)
    from transformers import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING

    if type(config) in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING:
        return open_writing(source, config, device=device, language=language, beam=beam)
    raise ConfigError(
        f"{source} is a {kind}; expected a model with a CTC head (such as Wav2Vec2ForCTC) or an encoder-decoder model "
        "of speech (such as WhisperForConditionalGeneration)"
    )


@dataclass(frozen=True)
class _Clock:
    """How a model counts: milliseconds between frames, the least samples that give one, and, where features are padded,
    the model's own method that says how many frames are not of padding."""

    frame_shift_ms: float
    shortest: int
    frames_of: str | None = None


def _open_ctc(source: str, config: Any, device: str) -> NetworkTeacher:
    extractor = loaded(source, lambda auto: auto.AutoFeatureExtractor.from_pretrained(source))
    vocabulary, clock = _vocabulary(source, config, _tokenizer(source)), _clock(source, config, extractor)
    model = weights(source, "AutoModelForCTC").to(device)

    def ask(samples: Tensor) -> Tensor:
        inputs = extractor(samples.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt").to(device)
        logits = model(**inputs).logits[0]
        if clock.frames_of:
            logits = logits[: int(getattr(model, clock.frames_of)(inputs["attention_mask"].sum(-1)))]
        return logits

    return NetworkTeacher(
        name_of(source),
        model,
        ask,
        vocabulary=vocabulary,
        frame_shift_ms=clock.frame_shift_ms,
        sample_rate=int(extractor.sampling_rate),
        shortest=clock.shortest,
        settings={"do_normalize": getattr(extractor, "do_normalize", None)},
    )


def _clock(source: str, config: Any, extractor: Any) -> _Clock:
    rate = extractor.sampling_rate
    adapter = config.adapter_stride**config.num_adapter_layers if getattr(config, "add_adapter", False) else 1
    if getattr(config, "conv_kernel", None) and getattr(config, "conv_stride", None):
        shift = 1000 * math.prod(config.conv_stride) / rate
        return _Clock(shift * adapter, receptive_field(config.conv_kernel, config.conv_stride))
    least = (_WINDOW_MS + _STEP_MS) * rate // 1000  # two frames: features are normalised by their deviation
    if config.model_type == "wav2vec2-bert":
        return _Clock(float(_STEP_MS * extractor.stride * adapter), least, "_get_feat_extract_output_lengths")
    if config.model_type == "parakeet_ctc":
        shift = 1000 * extractor.hop_length * config.encoder_config.subsampling_factor / rate
        return _Clock(shift, least, "_get_subsampling_output_length")
    raise ConfigError(
        f"{source} is a {type(config).__name__}, whose frame rate is unknown here; write its posteriors to files "
        "(see seqkd.teachers.external.files)"
    )


def _tokenizer(source: str) -> Any:
    try:
        return loaded(source, lambda auto: auto.AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    except ConfigError:
        # Some models say nowhere that their vocab.json is one of wav2vec 2.0.
        with contextlib.suppress(ConfigError):
            return loaded(source, lambda auto: auto.Wav2Vec2CTCTokenizer.from_pretrained(source))
        raise


def _vocabulary(source: str, config: Any, tokenizer: Any) -> Vocabulary:
    if "Phoneme" in type(tokenizer).__name__:
        raise ConfigError(f"{source} gives phonemes; expected a model that writes words")
    by_id = {unit: label for label, unit in tokenizer.get_vocab().items()}
    missing = [unit for unit in range(config.vocab_size) if unit not in by_id]
    if missing:
        raise ConfigError(
            f"{source} has {config.vocab_size} classes and its tokenizer no label for {len(missing)} of them (first "
            f"{missing[0]}); name a model with the tokenizer that it was trained with"
        )
    blank, padding = config.pad_token_id, tokenizer.pad_token_id
    if blank is None or blank != padding:
        raise ConfigError(
            f"{source} says that its blank (pad_token_id) is {blank} and its tokenizer that it is {padding}; "
            "set both to the class that it was trained with"
        )
    labels = [by_id[unit] for unit in range(config.vocab_size)]
    boundary = getattr(tokenizer, "word_delimiter_token", None)
    if boundary not in labels:
        boundary = BOUNDARY if any(label.startswith(BOUNDARY) for label in labels) else None
    return Vocabulary.of(
        labels,
        blank,
        boundary,
        unknown=tokenizer.unk_token,
        specials=tokenizer.all_special_tokens,
        where=f"the vocabulary of {source}",
    )
