"""Teachers of a few hundred parameters with random weights, saved as their libraries save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from seqkd.teachers.external.bundles import save_torchaudio

LETTERS = "ETAONIHSRDLUMWCFGYPBVKXJQZ'"
PIECES = ("▁", "▁the", "▁c", "at", "t", "a")
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "|")

# 25 ms windows every 20 ms at 16 kHz, like the real ones, with two convolutions in place of seven.
KERNELS, STRIDES = (20, 20), (20, 16)


def _networks() -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8, 8),
        "conv_kernel": KERNELS,
        "conv_stride": STRIDES,
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "pad_token_id": 0,
    }


def save_tokenizer(directory: Path, letters: str) -> int:
    """Write a vocabulary of ``SPECIALS`` and ``letters``; return its size."""
    from transformers import Wav2Vec2CTCTokenizer

    directory.mkdir(parents=True, exist_ok=True)
    labels = [*SPECIALS, *letters]
    vocabulary = directory / "vocab.json"
    vocabulary.write_text(json.dumps({label: unit for unit, label in enumerate(labels)}), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(directory)
    return len(labels)


def save_tiny_ctc(
    directory: Path, kind: str = "Wav2Vec2", *, letters: str = LETTERS, seed: int = 0, norm: str = "group"
) -> Any:
    """Save a ``{kind}ForCTC`` (Wav2Vec2, Hubert, WavLM) with its processor; return the model."""
    import transformers

    size = save_tokenizer(directory, letters)
    config = getattr(transformers, f"{kind}Config")(vocab_size=size, feat_extract_norm=norm, **_networks())
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCTC")(config).eval()
    model.save_pretrained(directory)
    masks = norm == "layer"
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masks).save_pretrained(directory)
    return model


def save_tiny_wav2vec2(directory: Path, letters: str = LETTERS, *, seed: int = 0) -> Any:
    """Save a ``Wav2Vec2ForCTC`` with its processor; return the model."""
    return save_tiny_ctc(directory, "Wav2Vec2", letters=letters, seed=seed)


def save_tiny_wav2vec2_bert(directory: Path, *, letters: str = LETTERS, adapter: bool = False, seed: int = 0) -> Any:
    """Save a ``Wav2Vec2BertForCTC`` with its processor; return the model."""
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC

    config = Wav2Vec2BertConfig(
        vocab_size=save_tokenizer(directory, letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        feature_projection_input_dim=160,
        conv_depthwise_kernel_size=5,
        left_max_position_embeddings=4,
        right_max_position_embeddings=4,
        add_adapter=adapter,
        num_adapter_layers=1,
        output_hidden_size=16,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = Wav2Vec2BertForCTC(config).eval()
    model.save_pretrained(directory)
    SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80).save_pretrained(directory)
    return model


def save_tiny_parakeet(directory: Path, *, pieces: tuple[str, ...] = PIECES, seed: int = 0) -> Any:
    """Save a ``ParakeetForCTC``, whose units are pieces of words and whose blank comes last; return the model."""
    import transformers
    from tokenizers import Tokenizer, models

    labels = ["<unk>", *pieces, "<pad>"]
    vocabulary = {label: unit for unit, label in enumerate(labels)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    config = transformers.ParakeetCTCConfig(
        vocab_size=len(labels),
        pad_token_id=len(labels) - 1,
        initializer_range=0.5,
        encoder_config={
            "initializer_range": 0.5,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "subsampling_conv_channels": 8,
            "num_mel_bins": 16,
            "conv_kernel_size": 5,
        },
    )
    torch.manual_seed(seed)
    model = transformers.ParakeetForCTC(config).eval()
    model.save_pretrained(directory)
    transformers.ParakeetTokenizer(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained(
        directory
    )
    transformers.ParakeetFeatureExtractor(feature_size=16).save_pretrained(directory)
    return model


def save_tiny_torchaudio(
    directory: Path, letters: str = LETTERS, *, normalize_waveform: bool = False, seed: int = 0
) -> torch.nn.Module:
    """Save a ``torchaudio.models.wav2vec2_model``; return the model."""
    import torchaudio

    labels = ["<blank>", "|", *letters]
    arguments: dict[str, Any] = {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": [[8, k, s] for k, s in zip(KERNELS, STRIDES, strict=True)],
        "extractor_conv_bias": False,
        "encoder_embed_dim": 16,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 4,
        "encoder_pos_conv_groups": 2,
        "encoder_num_layers": 1,
        "encoder_num_heads": 2,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 16,
        "encoder_ff_interm_dropout": 0.1,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": False,
        "encoder_layer_drop": 0.1,
        "aux_num_out": len(labels),
    }
    torch.manual_seed(seed)
    model = torchaudio.models.wav2vec2_model(**arguments).eval()
    save_torchaudio(directory, model, arguments, labels, normalize_waveform=normalize_waveform)
    return model


def _byte_letters() -> list[str]:
    """The 256 characters that byte-level BPE writes bytes with: printable ones as they are, others from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    letters |= {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def save_tiny_whisper(
    directory: Path,
    *,
    multilingual: bool = False,
    seed: int = 0,
    positions: int = 16,
    layers: int = 1,
    letters: str = "abcdefghijklmnopqrstuvwxyz",
) -> Any:
    """Save a ``WhisperForConditionalGeneration`` that writes small letters, with its processor; return the model."""
    import transformers

    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    vocabulary = {piece: unit for unit, piece in enumerate([*_byte_letters(), *special])}
    tokenizer = transformers.WhisperTokenizer(vocab=vocabulary, merges=[], additional_special_tokens=special[1:])
    end = vocabulary["<|endoftext|>"]
    config = transformers.WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=positions,
        pad_token_id=end,
        eos_token_id=end,
        bos_token_id=end,
        decoder_start_token_id=vocabulary["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=0.5,  # so that it has something to choose
    )
    torch.manual_seed(seed)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    written = {vocabulary[letter] for letter in letters}
    model.generation_config = transformers.GenerationConfig(
        is_multilingual=multilingual,
        max_length=12,
        suppress_tokens=[unit for unit in vocabulary.values() if unit not in written and unit != end],
        begin_suppress_tokens=[end],
        forced_decoder_ids=[[1, None]],  # real ones of old have it
        pad_token_id=end,
        eos_token_id=end,
        bos_token_id=end,
        decoder_start_token_id=vocabulary["<|startoftranscript|>"],
    )
    model.save_pretrained(directory)
    transformers.WhisperProcessor(transformers.WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(
        directory
    )
    return model


def save_tiny_speech2text(directory: Path, *, seed: int = 0) -> Any:
    """Save a ``Speech2TextForConditionalGeneration`` that writes small letters, with its processor."""
    import transformers

    from seqkd.data.tokens import train_tokenizer

    directory.mkdir(parents=True, exist_ok=True)
    pieces = train_tokenizer(["abcdefghijklmnopqrstuvwxyz"], type="char", vocab_size=0, word_boundary="between")
    (directory / "sentencepiece.model").write_bytes(pieces.model)
    labels = ["<s>", "<pad>", "</s>", "<unk>", *pieces.units[2:]]
    (directory / "labels.json").write_text(json.dumps({label: unit for unit, label in enumerate(labels)}))
    tokenizer = transformers.Speech2TextTokenizer(
        str(directory / "labels.json"), str(directory / "sentencepiece.model")
    )
    config = transformers.Speech2TextConfig(
        vocab_size=len(labels),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        conv_channels=16,
        max_target_positions=16,
        init_std=0.5,
    )
    torch.manual_seed(seed)
    model = transformers.Speech2TextForConditionalGeneration(config).eval()
    model.generation_config.max_length = 10
    model.save_pretrained(directory)
    extractor = transformers.Speech2TextFeatureExtractor()
    transformers.Speech2TextProcessor(extractor, tokenizer).save_pretrained(directory)
    return model
