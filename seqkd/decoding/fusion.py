"""What ``decode.lm`` and its fellows ask for: a lexicon, a language model, and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.language_model import BINARY, LanguageModel
from seqkd.decoding.lexicon import Lexicon
from seqkd.decoding.ngram import read_words, train_ngram
from seqkd.decoding.word_beam import WordSearch
from seqkd.errors import ConfigError, DataError
from seqkd.uptodate import content_hash, fingerprint

_VERSION = 1  # raise it when the same transcripts give another language model


@dataclass(frozen=True)
class Fusion:
    """Decoding into words of a lexicon, maybe with a language model.

    Attributes:
        lexicon: ARPA file, or list of one word a line, whose words may be written.
        lm: Language model; None for none.
        lm_weight: See ``WordSearch``.
        word_score: See ``WordSearch``.
    """

    lexicon: Path
    lm: Path | None
    lm_weight: float
    word_score: float

    def fingerprint(self) -> dict[str, Any]:
        """All that the outcome depends on: weights, and the contents of the files."""
        files = {"lexicon": self.lexicon, **({"lm": self.lm} if self.lm else {})}
        contents = {name: content_hash(file) for name, file in files.items()}
        return {**contents, "lm_weight": self.lm_weight, "word_score": self.word_score}

    def word_search(self, tokenizer: Tokenizer, beam: int) -> WordSearch:
        """Read the files and spell the words."""
        lexicon = Lexicon(read_words(self.lexicon), tokenizer)
        model = None
        if self.lm is not None:
            model = LanguageModel(self.lm, lexicon.words)
            lexicon.look_ahead(model.unigram)
        return WordSearch(lexicon, model, self.lm_weight, self.word_score, beam)


def fusion_of(cfg: DictConfig) -> Fusion | None:
    """Read the settings; trains the language model for ``decode.lm=train``. None if neither it nor a lexicon is given.

    Raises:
        ConfigError: Settings do not go together.
        DataError: A file is missing, or there are no transcripts to train on.
    """
    decode = cfg.decode
    if decode.lm is None and decode.lexicon is None:
        return None
    if decode.beam < 2:
        raise ConfigError(f"decode.lm and decode.lexicon need a beam, but decode.beam is {decode.beam}; set 16, say")
    lm, lexicon = None, None if decode.lexicon is None else _existing("decode.lexicon", decode.lexicon)
    if decode.lm == "train":
        lm = trained_model(Path(cfg.data) / cfg.tokens.set, decode.lm_order, Path(cfg.exp) / "lm")
    elif decode.lm is not None:
        lm = _existing("decode.lm", decode.lm)
        with lm.open("rb") as file:
            binary = file.read(len(BINARY)) == BINARY
        if binary and lexicon is None:
            raise ConfigError(
                f"decode.lm is {lm}, a binary of KenLM's, which does not list its words; "
                "name a file with one word a line in decode.lexicon"
            )
    return Fusion(lexicon or lm, lm, float(decode.lm_weight), float(decode.word_score))


def _existing(what: str, value: Any) -> Path:
    if not Path(str(value)).is_file():
        raise DataError(f"{what} is {value!r}, which is not a file{'' if Path(str(value)).is_absolute() else ' here'}")
    return Path(str(value))


def trained_model(data: Path, order: int, folder: Path) -> Path:
    """Return the ARPA file of a model trained on the transcripts of a set; it is trained only once."""
    texts = [utterance.text for utterance in read_data_dir(data)]
    if None in texts:
        raise DataError(f"{data} has no transcripts to train a language model on; name a labelled set in tokens.set")
    file = folder / f"{data.name}-{order}gram-{fingerprint(_VERSION, order, sorted(texts))}.arpa"
    if not file.is_file():
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # the others wait for the first rather than do the same
            if not file.is_file():
                train_ngram(texts, order).write_arpa(file)
    return file
