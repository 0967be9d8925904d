"""What the user sees when something is wrong: one sentence, nothing half-written, and no traceback."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.cli.main import main
from seqkd.uptodate import CACHE
from tests.runs import arguments
from tests.tone_corpus import RATE


@dataclass
class Place:
    """A prepared recipe to break: data with features, a tokenizer and a teacher."""

    data: Path
    exp: Path

    def lines(self, table: str, change: Callable[[list[str]], list[str]]) -> None:
        """Rewrite a table of the training set."""
        path = self.data / "train" / table
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))

    def audio(self, samples: object, rate: int = RATE, subtype: str = "PCM_16") -> None:
        """Replace the audio of the sixth training utterance."""
        soundfile.write(self.data / "audio" / "s2-train005.wav", samples, rate, subtype=subtype)

    @property
    def model(self) -> Path:
        return self.exp / "teacher" / "seed0" / "model"


@pytest.fixture
def place(tones: Path, tone_exp: Path, tmp_path: Path) -> Place:
    shutil.copytree(tones, tmp_path / "data")
    shutil.copytree(tone_exp, tmp_path / "exp")
    return Place(tmp_path / "data", tmp_path / "exp")


FAULTS: list[tuple] = []


def fault(command: str, *settings: str, says: str) -> Callable:
    """Register a way to break things; ``says`` is the whole sentence, with * for what may differ."""

    def register(breaks: Callable[[Place], None]) -> Callable[[Place], None]:
        FAULTS.append(pytest.param(breaks, command, settings, says, id=breaks.__name__))
        return breaks

    return register


# ---- the data directory


@fault(
    "prepare",
    says="Data directory {data}/train does not exist; expected a directory with wav.scp and utt2spk.",
)
def missing_data_directory(place: Place) -> None:
    shutil.rmtree(place.data / "train")


@fault("prepare", says="{data}/train/wav.scp is missing; a data directory needs wav.scp and utt2spk.")
def missing_table(place: Place) -> None:
    (place.data / "train" / "wav.scp").unlink()


@fault(
    "prepare",
    says="{data}/train/utt2spk, line 4: id 's0-train006' is there already, on line 3; every id must be unique, "
    "remove or rename one.",
)
def duplicate_id(place: Place) -> None:
    place.lines("utt2spk", lambda lines: [*lines[:3], *lines[2:]])


@fault(
    "prepare",
    says="{data}/train/text, line 2: 's0-train000' comes after 's0-train003', but lines must be sorted by the first "
    "field; sort the file with: LC_ALL=C sort -k1,1 -o {data}/train/text {data}/train/text",
)
def unsorted(place: Place) -> None:
    place.lines("text", lambda lines: [lines[1], lines[0], *lines[2:]])


@fault(
    "prepare",
    says="{data}/train/text, line 3: byte 13 (0xff) is not valid UTF-8; convert the file to UTF-8, for instance with "
    "iconv.",
)
def invalid_utf8(place: Place) -> None:
    path = place.data / "train" / "text"
    lines = path.read_bytes().splitlines()
    lines[2] = b"s0-train006 \xff\xfe"
    path.write_bytes(b"\n".join(lines) + b"\n")


@fault(
    "prepare",
    says="{data}/train/text, line 3: the transcript of 's0-train006' is empty; write it, or remove the utterance from "
    "every file.",
)
def empty_transcript(place: Place) -> None:
    place.lines("text", lambda lines: [*lines[:2], "s0-train006", *lines[3:]])


@fault(
    "prepare",
    says="{data}/train/utt2spk, line 3: id 's0-train006' is not in {data}/train/wav.scp; add it there or remove it "
    "here.",
)
def id_in_text_but_not_in_wav_scp(place: Place) -> None:
    place.lines("wav.scp", lambda lines: [*lines[:2], *lines[3:]])


@fault(
    "prepare",
    says="{data}/train/wav.scp, line 3: 's0-train006' is a command ('sox mine.mp3 -t wav - |'), expected an audio "
    "file; commands in data files are not executed. To see which there are, and have them write files once, run: seqkd "
    "prepare --unpipe {data}/train",
)
def command_in_wav_scp(place: Place) -> None:
    place.lines("wav.scp", lambda lines: [*lines[:2], "s0-train006 sox mine.mp3 -t wav - |", *lines[3:]])


# ---- audio


@fault(
    "prepare",
    says="{data}/train/wav.scp, line 3: the audio file of 's0-train006' is missing; looked for "
    "{data}/train/../audio/s0-train006.wav or ../audio/s0-train006.wav.",
)
def missing_audio(place: Place) -> None:
    (place.data / "audio" / "s0-train006.wav").unlink()


@fault(
    "prepare",
    says="Utterance 's2-train005', {data}/train/../audio/s2-train005.wav: has no samples; remove the utterance or "
    "write its audio again.",
)
def empty_audio(place: Place) -> None:
    place.audio(np.zeros(0))


@fault(
    "prepare",
    says="Utterance 's2-train005', {data}/train/../audio/s2-train005.wav: has a sample that is no number at 0.00 s; "
    "remove the utterance or write its audio again.",
)
def nan_samples(place: Place) -> None:
    samples = np.zeros(RATE)
    samples[[17, 18, 40]] = np.nan
    place.audio(samples, subtype="FLOAT")


@fault(
    "prepare",
    says="Utterance 's2-train005', {data}/train/../audio/s2-train005.wav: sample rate is 16000 Hz, expected 8000 Hz; "
    "resample the audio, or set the sample rate of the features to that of the audio.",
)
def wrong_sample_rate(place: Place) -> None:
    place.audio(np.zeros(RATE), rate=16000)


@fault(
    "prepare",
    says="Utterance 's2-train005', {data}/train/../audio/s2-train005.wav: has 2 channels, expected one; mix them down "
    "or pick one.",
)
def stereo(place: Place) -> None:
    place.audio(np.zeros((RATE, 2)))


@fault(
    "prepare",
    says="Utterance 's2-train005', {data}/train/../audio/s2-train005.wav: cannot be read as audio (*); the file is "
    "damaged or of an unknown format.",
)
def not_audio(place: Place) -> None:
    (place.data / "audio" / "s2-train005.wav").write_text("hello")


@fault(
    "prepare",
    says="Utterance 's2-train005', {data}/train/../audio/s2-train005.wav: lasts 10 ms, less than one frame of 25 ms; "
    "remove it.",
)
def audio_shorter_than_a_frame(place: Place) -> None:
    place.audio(np.zeros(80))


# ---- tokens


@fault(
    "prepare",
    "tokens.type=bpe",
    "tokens.vocab_size=500",
    says="sentencepiece cannot make 500 bpe units from 24 lines (Vocabulary size too high (500). *); set "
    "tokens.vocab_size=* or fewer",
)
def vocabulary_too_large(place: Place) -> None:
    pass


@fault(
    "prepare",
    "tokens.set=extra",
    says="{data}/extra has no transcripts; name a labelled set in tokens.set",
)
def tokenizer_from_an_unlabelled_set(place: Place) -> None:
    pass


@fault("train --one", "system=student", says="{exp}/tokens/tokenizer.model is missing; run ./run.sh --stage prepare")
def no_tokenizer(place: Place) -> None:
    shutil.rmtree(place.exp / "tokens")


@fault(
    "train --one",
    "system=student",
    says="{data}/dev/text, utterance s0-dev000: 'sol' in 'do sol' is unknown to the tokenizer; normalise the "
    "transcript, or add such text to the tokenizer's training set and run ./run.sh --stage prepare",
)
def unknown_word_in_dev(place: Place) -> None:
    text = place.data / "dev" / "text"
    text.write_text("".join(["s0-dev000 do sol\n", *text.read_text().splitlines(keepends=True)[1:]]))
    assert main(["prepare", *arguments(place.exp, place.data)]) == 0


# ---- the order of stages, and what earlier ones left


@fault("train --one", "system=student", says="{data}/train has no finished features; run ./run.sh --stage prepare")
def no_features(place: Place) -> None:
    shutil.rmtree(place.data / "train" / "feats")


@fault(
    "train --one",
    "system=student",
    says="{data}/train has changed since its features were made; run ./run.sh --stage prepare",
)
def data_newer_than_features(place: Place) -> None:
    place.lines("text", lambda lines: ["s0-train000 do do", *lines[1:]])


@fault(
    "train --one",
    "system=student",
    "features.num_mel_bins=30",
    says="{data}/train has features made with {{'sample_rate': 8000, 'num_mel_bins': 20, *}}, but features= is "
    "{{'sample_rate': 8000, 'num_mel_bins': 30, *}}; run ./run.sh --stage prepare",
)
def features_of_other_settings(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=kd",
    says="{exp}/teacher/seed0/model: no teacher here; name one by teacher.import_from=DIR, or run "
    "./run.sh --stage teachers",
)
def no_teacher(place: Place) -> None:
    shutil.rmtree(place.exp / "teacher")


@fault(
    "train --one",
    "system=kd",
    "teacher.import_from=/nowhere",
    says="/nowhere: no teacher here; name one by teacher.import_from=DIR, or run ./run.sh --stage teachers",
)
def no_imported_teacher(place: Place) -> None:
    pass


def teacher_of_other_tokens(place: Place) -> None:
    """The teacher stays as it was; units are made again, of another kind."""
    assert main(["prepare", *arguments(place.exp, place.data), "tokens.type=char"]) == 0


OTHER_VOCABULARY = (
    "the teacher has 6 output classes and the student 11; frame-level distillation needs one tokenizer for both"
)


@fault("train --one", "system=kd", "tokens.type=char", says=OTHER_VOCABULARY)
def teacher_with_another_vocabulary(place: Place) -> None:
    teacher_of_other_tokens(place)


@fault("check-teacher", "tokens.type=char", says=OTHER_VOCABULARY)
def teacher_with_another_vocabulary_in_stage_4(place: Place) -> None:
    teacher_of_other_tokens(place)


@fault(
    "train --one",
    "system=kd",
    "features.num_mel_bins=30",
    says="the teacher was trained on FeatureSettings(sample_rate=8000, num_mel_bins=20, *) and the student takes "
    "FeatureSettings(sample_rate=8000, num_mel_bins=30, *); set features= to what the teacher was trained on",
)
def teacher_of_other_features(place: Place) -> None:
    assert main(["prepare", *arguments(place.exp, place.data), "features.num_mel_bins=30"]) == 0


@fault("train --one", "system=kd", says="{exp}/teacher/seed0/model/model.safetensors cannot be loaded (*); train again")
def damaged_model(place: Place) -> None:
    weights = place.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


@fault(
    "decode", "systems=[teacher]", says="{exp}/teacher/seed0/model/model.safetensors cannot be loaded (*); train again"
)
def damaged_model_in_decoding(place: Place) -> None:
    damaged_model(place)


@fault("decode", "systems=[teacher]", says="{exp}/teacher/seed0 has no finished model; run ./run.sh --stage teachers")
def decoding_an_untrained_system(place: Place) -> None:
    shutil.rmtree(place.model)


@fault(
    "decode",
    "systems=[teacher]",
    "sets.test=[other]",
    says="{data}/other has no finished features; run ./run.sh --stage prepare",
)
def decoding_a_set_without_features(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=student",
    says="{data}/train/feats/00000.safetensors is damaged (*); delete {data}/train/feats and run "
    "./run.sh --stage prepare",
)
def damaged_features(place: Place) -> None:
    shard = place.data / "train" / "feats" / "00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])


# ---- sets


@fault(
    "train --one",
    "system=student",
    "student.train_set=extra",
    says="{data}/extra has no text file, but is used as a labelled set; name it in unlabelled=",
)
def unlabelled_set_as_labelled(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=student",
    says="no utterance of ['train'] in {data} is usable: 24 do not fit their frames",
)
def transcripts_that_cannot_fit(place: Place) -> None:
    place.lines("text", lambda lines: [f"{line.split()[0]} {'do ' * 90}" for line in lines])
    assert main(["prepare", *arguments(place.exp, place.data)]) == 0


@fault(
    "train --one",
    "system=kd_unlabelled",
    "unlabelled=[again]",
    says="utterance s0-train000 of {data}/again is also in another set of ['train', 'again']; remove one",
)
def one_utterance_in_two_sets(place: Place) -> None:
    shutil.copytree(place.data / "train", place.data / "again")


# ---- settings


@fault("train", "--preset=huge", says="there is no preset 'huge'; known: none without --conf")
def unknown_preset(place: Place) -> None:
    pass


@fault(
    "train",
    "systems=[sudent]",
    says="there is no system 'sudent'; did you mean student? known: aligned_smoothing, *",
)
def unknown_system(place: Place) -> None:
    pass


@fault(
    "prepare everything",
    says="there is no 'everything' to prepare; expected corpus, or nothing for what the task needs",
)
def unknown_step(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=sudent",
    says="there is no system/sudent; did you mean student? known: aligned_smoothing, *",
)
def unknown_single_system(place: Place) -> None:
    pass


@fault(
    "train",
    "student.trainig.lr=1",
    says="there is no setting student.trainig.lr; did you mean student.training.lr?",
)
def unknown_setting(place: Place) -> None:
    pass


@fault("train", "zzz=1", says="there is no setting zzz; seqkd/conf/asr/config.yaml lists what there is")
def setting_like_no_other(place: Place) -> None:
    pass


@fault(
    "train",
    "student.model.heads=4",
    says="setting student.model.heads does not belong to what model= or system= chose",
)
def setting_of_another_encoder(place: Place) -> None:
    pass


@fault(
    "train",
    "systems=[kd",
    says="setting 'systems=[kd' cannot be read (*); expected key=value, lists as [a,b], and quotes around text with "
    "special characters",
)
def unreadable_setting(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=student",
    "student.training.updates=many",
    says="setting student.training.updates is 'many'; expected a whole number",
)
def text_for_a_number(place: Place) -> None:
    pass


@fault("train", "systems=kd", says="setting systems is 'kd'; expected a list, such as [a,b]")
def text_for_a_list(place: Place) -> None:
    pass


@fault("train", "seeds=0", says="setting seeds is 0; expected at least 1")
def no_seeds(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=kd",
    "system.objective.kd.distance=cosine",
    says="setting system.objective.kd.distance is 'cosine'; expected one of squared, kl",
)
def bad_distance(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=kd_unlabelled",
    "unlabelled=[]",
    says="system kd_unlabelled uses sets without labels, but unlabelled= names none; set unlabelled=[unlabelled], or "
    "leave the system out",
)
def no_unlabelled_set(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=student",
    "student.model.encoder=lstm",
    says="setting student.model.encoder is 'lstm'; expected one of conformer, conv, chunk_conformer, lookahead_conv",
)
def unknown_encoder(place: Place) -> None:
    pass


@fault(
    "train --one",
    "system=student",
    "model@student.model=conformer",
    "student.model.heads=7",
    says="setting student.model.heads is 7; expected a number whose double divides the width, which is 24",
)
def heads_that_do_not_divide(place: Place) -> None:
    pass


@fault(
    "train --one",
    "--ngpu=99",
    "system=student",
    says="--ngpu is 99, but torch can use * GPUs here; leave it out to use the CPU, or see what 'seqkd doctor' says",
)
def more_gpus_than_there_are(place: Place) -> None:
    pass


# ---- scores and reports


@fault(
    "score --recipe",
    "systems=[teacher]",
    says="{exp}/teacher/seed0/decode_dev has no text; run ./run.sh --stage decode",
)
def scoring_before_decoding(place: Place) -> None:
    pass


@fault(
    "score --recipe",
    "systems=[teacher]",
    says="{exp}/teacher/seed0/decode_dev/text against {data}/dev/text: 1 utterance (s0-dev003) is without a "
    "hypothesis; decode them, score them as empty (missing: all) or leave them out (missing: present).",
)
def hypothesis_missing(place: Place) -> None:
    decoded = place.exp / "teacher" / "seed0" / "decode_dev"
    decoded.mkdir()
    lines = (place.data / "dev" / "text").read_text().splitlines(keepends=True)
    (decoded / "text").write_text("".join(line for line in lines if not line.startswith("s0-dev003")))


@fault(
    "score --recipe",
    "systems=[teacher]",
    "sets.test=[extra]",
    says="{data}/extra/text is missing: a test set needs transcripts; name another set in sets.test",
)
def scoring_against_no_transcripts(place: Place) -> None:
    decoded = place.exp / "teacher" / "seed0" / "decode_extra"
    decoded.mkdir()
    (decoded / "text").write_text("s0-extra000 do\n")


@fault("report", "systems=[teacher]", says="{exp} holds no finished run of teacher; nothing to report.")
def reporting_before_decoding(place: Place) -> None:
    pass


def contents(place: Place) -> dict[Path, int]:
    found = (path for root in (place.data, place.exp) for path in root.rglob("*"))
    # A cache may grow: it holds no more than what files contain.
    return {path: path.stat().st_mtime_ns for path in found if path.is_file() and path.name != CACHE}


@pytest.mark.parametrize(("breaks", "command", "settings", "says"), FAULTS)
def test_one_sentence(
    breaks: Callable[[Place], None],
    command: str,
    settings: tuple[str, ...],
    says: str,
    place: Place,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaks(place)
    before = contents(place)
    capsys.readouterr()
    assert main([*command.split(), *arguments(place.exp, place.data, *settings)]) == 1
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert said.count("\n") == 1, "more than one line"
    sentence = f"seqkd {command.split()[0]}: " + says.format(data=place.data, exp=place.exp)
    assert re.fullmatch(re.escape(sentence).replace(r"\*", ".+"), said[:-1]), said
    assert contents(place) == before, "a file is new, changed or lost"


def test_there_are_many_distinct_sentences() -> None:
    assert len({fault.values[3] for fault in FAULTS}) >= 40
