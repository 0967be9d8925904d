"""Encoder-decoder models of Hugging Face transformers as teachers: Whisper, Speech2Text and the like write
transcripts by beam search.

Letters: n samples, N hypotheses, S tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external.audio import Speech, TeacherTranscript, check_rate
from seqkd.teachers.external.huggingface_files import loaded, name_of, quiet, weights
from seqkd.teachers.external.network import check_length, parameters_hash
from seqkd.teachers.external.sequence import distinct

_MULTILINGUAL = 51865  # least vocabulary of a Whisper that knows several languages; the English ones have 51864
_SHORTEST = 0.025  # seconds, a window of the filterbank


class WritingTeacher:
    """A `SequenceTeacher` that writes by beam search, one utterance at a time, so that padding never matters.

    Attributes:
        model: of transformers, frozen.
        processor: its feature extractor and tokenizer.
        prompt: (1, S) tokens that its decoder begins with.
    """

    def __init__(self, name: str, model: Any, processor: Any, *, prompt: Sequence[int], beam: int, device: str) -> None:
        """Freeze the model; ``prompt`` holds the tokens that its decoder begins with."""
        if beam < 2:
            raise ConfigError(f"the beam of {name} is {beam}; expected at least 2")
        model.requires_grad_(False).eval()
        extractor = processor.feature_extractor
        self.name, self.sample_rate = name, int(extractor.sampling_rate)
        self.hash = parameters_hash(model, [list(prompt), self.sample_rate])
        self.parameter_count = sum(parameter.numel() for parameter in model.parameters())
        self.model, self.processor, self._device, self._beam = model, processor, device, beam
        self.prompt = torch.tensor([list(prompt)], device=device)  # (1, S)
        self._longest = extractor.n_samples if hasattr(extractor, "n_samples") else None

    @torch.no_grad()
    def transcribe(self, speech: Sequence[Speech], n: int) -> list[list[TeacherTranscript]]:
        """See SequenceTeacher. Searches with a beam of at least n; ``log_prob`` adds up all tokens, the end included.

        Raises:
            ConfigError: another sample rate.
            DataError: an utterance that is longer than the model takes, or too short.
        """
        return [self._write(one, n) for one in speech]

    def _write(self, speech: Speech, n: int) -> list[TeacherTranscript]:
        from transformers import GenerationMixin

        check_rate(speech, self.sample_rate, self.name)
        check_length(speech, round(_SHORTEST * self.sample_rate), self.name)
        if self._longest and len(speech.samples) > self._longest:
            raise DataError(
                f"utterance {speech.id!r} lasts {len(speech.samples) / self.sample_rate:.1f} s and {self.name} takes "
                f"{self._longest / self.sample_rate:g} s; split it with a segments file"
            )
        samples = speech.samples.numpy()
        with quiet():
            inputs = self.processor(samples, sampling_rate=self.sample_rate, return_tensors="pt").to(self._device)
            # Whisper's own generate makes n copies of the best hypothesis; what it is built on gives the n best.
            found = GenerationMixin.generate(
                self.model,
                **inputs,
                decoder_input_ids=self.prompt,
                num_beams=max(self._beam, n),
                num_return_sequences=n,
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=True,
            )
        steps = self.model.compute_transition_scores(found.sequences, found.scores, found.beam_indices)
        texts = self.processor.batch_decode(found.sequences, skip_special_tokens=True)
        scores = steps.double().sum(1).tolist()  # (N, S) to (N,); what follows a hypothesis' end is 0
        return distinct(TeacherTranscript(" ".join(t.split()), score) for t, score in zip(texts, scores, strict=True))


def open_writing(source: str, config: Any, *, device: str, language: str | None, beam: int) -> WritingTeacher:
    """See `open_huggingface`."""
    processor = loaded(source, lambda auto: auto.AutoProcessor.from_pretrained(source, trust_remote_code=False))
    model = weights(source, "AutoModelForSpeechSeq2Seq").to(device)
    model.generation_config.forced_decoder_ids = None  # of old configurations; the prompt says all
    if config.model_type == "whisper":
        prompt = _whisper_prompt(source, model, processor.tokenizer, language)
    else:
        if language is not None:
            raise ConfigError(
                f"{source} is a {config.model_type}, and a language can be set for Whisper alone; set "
                "teacher.language=null"
            )
        start = model.generation_config.decoder_start_token_id
        if start is None:
            raise ConfigError(f"{source} has no decoder_start_token_id; write it again with save_pretrained")
        prompt = [start]
    return WritingTeacher(name_of(source), model, processor, prompt=prompt, beam=beam, device=device)


def _whisper_prompt(source: str, model: Any, tokenizer: Any, language: str | None) -> list[int]:
    """The tokens for: transcribe, in this language, without times."""
    names = ["<|startoftranscript|>"]
    several = getattr(model.generation_config, "is_multilingual", None)
    if several if several is not None else model.config.vocab_size >= _MULTILINGUAL:
        if language is None:
            raise ConfigError(f"{source} knows several languages; say which one is spoken: set teacher.language=en")
        names += [f"<|{language}|>", "<|transcribe|>"]
    elif language not in (None, "en"):
        raise ConfigError(f"{source} knows English only, but teacher.language is {language}; set teacher.language=en")
    names.append("<|notimestamps|>")
    known = tokenizer.get_vocab()
    lacking = [name for name in names if name not in known]
    if lacking:
        raise ConfigError(
            f"{source} has no token {lacking[0]!r}; expected a language's code, as in teacher.language=en"
        )
    return [known[name] for name in names]
