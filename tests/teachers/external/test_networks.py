"""Networks of transformers and torchaudio as teachers, against the libraries themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seqkd.data.tokens import train_tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external.audio import FrameTeacher, SequenceTeacher, Speech
from seqkd.teachers.external.network import parameters_hash, receptive_field
from seqkd.teachers.external.opening import open_teacher
from seqkd.teachers.external.vocabulary import Vocabulary, VocabularyMap
from tests.teachers.external.tiny_teachers import (
    LETTERS,
    PIECES,
    save_tiny_ctc,
    save_tiny_parakeet,
    save_tiny_torchaudio,
    save_tiny_wav2vec2,
    save_tiny_wav2vec2_bert,
)

RATE = 16000
MAKERS: dict[str, Callable[[Path], nn.Module]] = {
    "wav2vec2": save_tiny_wav2vec2,
    "wav2vec2-layer": lambda path: save_tiny_ctc(path, norm="layer"),
    "hubert": lambda path: save_tiny_ctc(path, "Hubert"),
    "wavlm": lambda path: save_tiny_ctc(path, "WavLM"),
    "wav2vec2-bert": save_tiny_wav2vec2_bert,
    "wav2vec2-bert-adapter": lambda path: save_tiny_wav2vec2_bert(path, adapter=True),
    "parakeet": save_tiny_parakeet,
    "torchaudio": save_tiny_torchaudio,
    "torchaudio-normalised": lambda path: save_tiny_torchaudio(path, normalize_waveform=True),
}


def speech(*lengths: int) -> list[Speech]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [Speech(f"u{n}", 0.1 * torch.randn(n, generator=generator) + 0.05, RATE) for n in lengths]


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, nn.Module]:
    directory = tmp_path_factory.mktemp("teacher") / request.param
    return request.param, directory, MAKERS[request.param](directory)


def asked_directly(kind: str, directory: Path, model: nn.Module, samples: torch.Tensor) -> torch.Tensor:
    """(T, C) log-probabilities as the library's own documentation has one compute them."""
    if kind.startswith("torchaudio"):
        waveform = samples[None]
        if kind == "torchaudio-normalised":
            waveform = (waveform - waveform.mean()) / (waveform.var(unbiased=False) + 1e-5).sqrt()
        return model(waveform)[0][0].log_softmax(-1)
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(directory)
    inputs = extractor(samples.numpy(), sampling_rate=RATE, return_tensors="pt")
    return model(**inputs).logits[0].log_softmax(-1)


@torch.no_grad()
def test_the_answer_is_the_librarys(made: tuple[str, Path, nn.Module]) -> None:
    kind, directory, model = made
    teacher = open_teacher(directory)
    assert isinstance(teacher, FrameTeacher)
    assert not isinstance(teacher, SequenceTeacher)
    for one, found in zip(speech(16000, 5000), teacher.log_probs(speech(16000, 5000)), strict=True):
        expected = asked_directly(kind, directory, model, one.samples)
        assert found.shape[1] == len(teacher.vocabulary)
        assert len(expected) - len(found) in (0, 1)  # features are filled up to a whole step, which is masked
        assert torch.allclose(found, expected[: len(found)], atol=1e-5)
        assert torch.allclose(found.exp().sum(-1), torch.ones(len(found)), atol=1e-5)
        assert found.std(0).max() > 0.01  # frames differ: something is read_speech


def test_the_answer_does_not_depend_on_the_batch(made: tuple[str, Path, nn.Module]) -> None:
    teacher = open_teacher(made[1])
    asked = speech(16000, 4000, 9000)
    together = teacher.log_probs(asked)
    for one, found in zip(asked, together, strict=True):
        assert torch.equal(teacher.log_probs([one])[0], found)
    assert all(torch.equal(a, b) for a, b in zip(teacher.log_probs(asked[::-1])[::-1], together, strict=True))


def test_frames_come_at_the_stated_rate(made: tuple[str, Path, nn.Module]) -> None:
    kind, directory, _ = made
    teacher = open_teacher(directory)
    assert teacher.frame_shift_ms == {"wav2vec2-bert-adapter": 40.0, "parakeet": 80.0}.get(kind, 20.0)
    assert teacher.sample_rate == RATE
    short, long = teacher.log_probs(speech(16000, 48000))
    assert (len(long) - len(short)) * teacher.frame_shift_ms == 2000  # two seconds more


def test_a_teacher_is_frozen(made: tuple[str, Path, nn.Module]) -> None:
    answer = open_teacher(made[1]).log_probs(speech(4000))[0]
    assert not answer.requires_grad
    assert answer.dtype == torch.float32


def test_the_hash_is_that_of_the_parameters(made: tuple[str, Path, nn.Module], tmp_path: Path) -> None:
    kind, directory, _ = made
    first = open_teacher(directory).hash
    assert len(first) == 16
    assert open_teacher(directory).hash == first
    MAKERS[kind](tmp_path / "again")  # the same seed
    assert open_teacher(tmp_path / "again").hash == first
    if kind == "wav2vec2":
        save_tiny_wav2vec2(tmp_path / "other", seed=1)
        assert open_teacher(tmp_path / "other").hash != first
        save_tiny_ctc(tmp_path / "letters", letters=LETTERS[::-1])
        assert open_teacher(tmp_path / "letters").hash != first


def test_vocabulary_and_map(made: tuple[str, Path, nn.Module]) -> None:
    vocabulary = open_teacher(made[1]).vocabulary
    if made[0] == "parakeet":
        assert vocabulary == Vocabulary(("<unk>", *PIECES, "<pad>"), len(PIECES) + 1, "▁", 0)
        assert vocabulary.text([2, 3, 4]) == "the cat"
        return
    assert "".join(label for label in vocabulary.labels if len(label) == 1 and label != "|") == LETTERS
    assert (vocabulary.blank, vocabulary.word_boundary) == (0, "|")
    student = train_tokenizer([LETTERS.lower(), "a b"], type="char", vocab_size=0, word_boundary="between")
    found = VocabularyMap.of(vocabulary, student)
    assert found.unreached == ()
    assert [row.piece for row in found.rows][-len(LETTERS) :] == list(LETTERS.lower())


def test_the_shortest_utterance(made: tuple[str, Path, nn.Module]) -> None:
    kind, directory, _ = made
    teacher = open_teacher(directory)
    shortest = 560 if kind == "parakeet" or kind.startswith("wav2vec2-bert") else 400
    assert len(teacher.log_probs(speech(shortest))[0]) == 1
    with pytest.raises(DataError) as caught:
        teacher.log_probs(speech(shortest - 16))
    assert str(caught.value) == (
        f"utterance 'u{shortest - 16}' lasts {(shortest - 16) / 16:g} ms and {teacher.name} needs at least "
        f"{shortest / 16:g} ms; remove it"
    )


def test_speech_at_another_rate(made: tuple[str, Path, nn.Module]) -> None:
    teacher = open_teacher(made[1])
    with pytest.raises(ConfigError) as caught:
        teacher.log_probs([Speech("a", torch.zeros(8000), 8000)])
    assert str(caught.value) == (
        f"utterance 'a' has 8000 Hz and {teacher.name} takes 16000 Hz; give it speech at its own rate"
    )


def test_receptive_field() -> None:
    assert receptive_field([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]) == 400  # wav2vec 2.0: 25 ms
    assert receptive_field([20, 20], [20, 16]) == 400


def test_every_parameter_counts() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = parameters_hash(network, None)
    assert parameters_hash(network, 1) != before
    network[1].running_mean[1] += 1e-3
    assert parameters_hash(network, None) != before
    half = network.to(torch.bfloat16)
    assert parameters_hash(half, None) not in (before, None)


# ---- what is wrong with a directory of transformers


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_tiny_wav2vec2(tmp_path / "base")
    return tmp_path / "base"


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(directory: Path) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        open_teacher(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pickled_weights_are_refused(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    assert refused(saved) == (
        f"{saved} has no weights in safetensors (none); load it where you trust it and write it again with "
        "save_pretrained"
    )
    torch.save({}, saved / "pytorch_model.bin")
    assert refused(saved) == (
        f"{saved} has no weights in safetensors (only pytorch_model.bin, which would have to be unpickled); load it "
        "where you trust it and write it again with save_pretrained"
    )


def test_pickled_weights_beside_other_safetensors_are_refused(saved: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").rename(saved / "adapter.safetensors")
    assert refused(saved).startswith(f"{saved} cannot be opened as a model of transformers (")


@pytest.mark.parametrize("size", [0, 100, 10000])
def test_truncated_weights(saved: Path, size: int) -> None:
    content = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(content[:size])
    message = refused(saved)
    assert message.startswith(f"{saved} cannot be opened as a model of transformers (")
    assert message.endswith("); write it again with save_pretrained, the processor too")


@pytest.mark.parametrize("name", ["preprocessor_config.json", "vocab.json"])
def test_a_model_without_its_processor(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert refused(saved).startswith(f"{saved} cannot be opened as a model of transformers (")


def test_a_vocabulary_that_does_not_say_whose_it_is(tmp_path: Path) -> None:
    save_tiny_ctc(tmp_path / "wavlm", "WavLM")
    before = open_teacher(tmp_path / "wavlm")
    (tmp_path / "wavlm" / "tokenizer_config.json").unlink()
    found = open_teacher(tmp_path / "wavlm")
    assert (found.vocabulary, found.hash) == (before.vocabulary, before.hash)


def test_a_model_that_was_only_pretrained(saved: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(saved / "model.safetensors")
    for name in ("lm_head.weight", "lm_head.bias"):
        del weights[name]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    assert refused(saved) == (
        f"the weights of {saved} lack lm_head.bias, lm_head.weight; name a model that was trained to transcribe, not "
        "only pretrained"
    )


def test_labels_and_classes_that_disagree(saved: Path) -> None:
    labels = json.loads((saved / "vocab.json").read_text())
    del labels["A"], labels["'"]
    (saved / "vocab.json").write_text(json.dumps(labels))
    assert refused(saved) == (
        f"{saved} has 32 classes and its tokenizer no label for 2 of them (first 7); name a model with the tokenizer "
        "that it was trained with"
    )


@pytest.mark.parametrize("blank", [None, 5])
def test_a_blank_that_is_not_stated_or_disagrees(saved: Path, blank: int | None) -> None:
    change(saved / "config.json", pad_token_id=blank)
    assert refused(saved) == (
        f"{saved} says that its blank (pad_token_id) is {blank} and its tokenizer that it is 0; set both to the class "
        "that it was trained with"
    )


def test_a_model_of_another_kind(saved: Path) -> None:
    change(saved / "config.json", architectures=["Wav2Vec2ForSequenceClassification"])
    assert refused(saved) == (
        f"{saved} is a Wav2Vec2ForSequenceClassification; expected a model with a CTC head (such as Wav2Vec2ForCTC) or "
        "an encoder-decoder model of speech (such as WhisperForConditionalGeneration)"
    )


def test_weights_that_say_nan(saved: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(saved / "model.safetensors")
    weights["lm_head.bias"][3] = np.nan
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError) as caught:
        open_teacher(saved).log_probs(speech(4000))
    assert str(caught.value) == f"{saved.name} gives NaN for utterance 'u4000'; check its weights and the audio"


def test_code_beside_the_weights_is_not_run(saved: Path, tmp_path: Path) -> None:
    (saved / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    change(
        saved / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForCTC": "evil.Model"},
    )
    assert refused(saved).startswith(f"{saved} cannot be opened as a model of transformers (")
    assert not (tmp_path / "ran").exists()


def test_a_hub_name_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refused("hf:nobody/no-such-model")
    assert message.startswith("the model 'nobody/no-such-model' cannot be had from the Hugging Face hub (")
    assert message.endswith("); check the name and the network, or name a local directory")


# ---- what is wrong with a directory or a bundle of torchaudio


@pytest.fixture
def torchaudio_saved(tmp_path: Path) -> Path:
    save_tiny_torchaudio(tmp_path / "ta")
    return tmp_path / "ta"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factory": "os.system"}, ": the factory is 'os.system'; expected one of wav2vec2_model, wavlm_model"),
        ({"blank": None}, " has the blank None; expected a class from 0 to 28"),
        ({"sample_rate": "16k"}, ": the sample rate is '16k'; expected a number of Hz"),
        ({"labels": ["<blank>", "|", "a"]}, ": aux_num_out is 29 and there are 3 labels; expected one class a label"),
        (
            {"language": "en"},
            " has the unknown language; expected arguments, blank, factory, labels, normalize_waveform, sample_rate, "
            "word_boundary",
        ),
    ],
)
def test_a_description_that_cannot_be(torchaudio_saved: Path, fields: dict, message: str) -> None:
    change(torchaudio_saved / "torchaudio.json", **fields)
    assert refused(torchaudio_saved) == f"{torchaudio_saved}/torchaudio.json{message}"


def test_arguments_that_the_factory_refuses(torchaudio_saved: Path) -> None:
    path = torchaudio_saved / "torchaudio.json"
    arguments = json.loads(path.read_text())["arguments"] | {"layers": 3}
    change(path, arguments=arguments)
    assert refused(torchaudio_saved).startswith(f"{path}: torchaudio.models.wav2vec2_model refuses the arguments (")


def test_weights_of_another_size(torchaudio_saved: Path) -> None:
    path = torchaudio_saved / "torchaudio.json"
    change(path, arguments=json.loads(path.read_text())["arguments"] | {"encoder_ff_interm_features": 32})
    message = refused(torchaudio_saved)
    assert message.startswith(f"{torchaudio_saved}/model.safetensors cannot be loaded (Error(s) in loading state_dict")
    assert message.endswith("); write the directory again")


def test_missing_and_truncated_weights(torchaudio_saved: Path) -> None:
    path = torchaudio_saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert refused(torchaudio_saved).startswith(f"{path} cannot be loaded (")
    path.unlink()
    assert refused(torchaudio_saved) == (
        f"{path} is missing; write the directory again with seqkd.teachers.external.bundles.save_torchaudio"
    )


def test_a_bundle_that_does_not_exist() -> None:
    message = refused("torchaudio:WAV2VEC2_ASR_TINY")
    assert message.startswith("torchaudio has no bundle 'WAV2VEC2_ASR_TINY' with CTC labels; it has HUBERT_ASR_LARGE, ")
    assert "WAV2VEC2_ASR_BASE_960H" in message
    assert refused("torchaudio:WAV2VEC2_BASE").startswith("torchaudio has no bundle 'WAV2VEC2_BASE' with CTC labels")


def test_a_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real bundles' path, with weights that lie in torch's hub directory already."""
    import torchaudio
    from torchaudio.pipelines import Wav2Vec2ASRBundle

    model = save_tiny_torchaudio(tmp_path / "ta", "ABC")
    arguments = json.loads((tmp_path / "ta" / "torchaudio.json").read_text())["arguments"]
    state = model.state_dict()
    for name in ("aux.weight", "aux.bias"):  # fairseq's bos, pad, eos at 1 to 3, which torchaudio takes out
        state[name] = torch.cat([state[name][:1], torch.zeros_like(state[name][:3]), state[name][1:]])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    (tmp_path / "hub" / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "hub" / "checkpoints" / "tiny.pth")
    bundle = Wav2Vec2ASRBundle(
        _path="tiny.pth",
        _params=arguments,
        _sample_rate=16000,
        _normalize_waveform=False,
        _model_type="Wav2Vec2",
        _labels=("|", "A", "B", "C"),
    )
    monkeypatch.setattr(torchaudio.pipelines, "TINY", bundle, raising=False)
    teacher = open_teacher("torchaudio:TINY")
    assert teacher.vocabulary.labels == ("<blank>", "|", "A", "B", "C")
    assert teacher.frame_shift_ms == 20.0
    asked = speech(8000)
    assert torch.equal(teacher.log_probs(asked)[0], open_teacher(tmp_path / "ta").log_probs(asked)[0])


class Evil:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_weights_of_a_bundle_are_not_unpickled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "wav2vec2_fairseq_base_ls960_asr_ls960.pth"
    path.parent.mkdir(parents=True)
    torch.save({"weight": Evil(tmp_path / "ran")}, path)
    expected = "the weights of WAV2VEC2_ASR_BASE_960H are damaged or hold more than tensors ("
    assert refused("torchaudio:WAV2VEC2_ASR_BASE_960H").startswith(expected)
    assert not (tmp_path / "ran").exists()
    for content in (b"", b"nonsense", path.read_bytes()[:300]):
        path.write_bytes(content)
        message = refused("torchaudio:WAV2VEC2_ASR_BASE_960H")
        assert message.startswith(expected)
        assert message.endswith(f"); delete them from {tmp_path}/hub and run again")


def test_a_bundle_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from urllib.error import URLError

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    assert refused("torchaudio:WAV2VEC2_ASR_BASE_960H") == (
        "the weights of WAV2VEC2_ASR_BASE_960H cannot be downloaded (<urlopen error no network>); check the network, "
        "or name a directory written by seqkd.teachers.external.bundles.save_torchaudio"
    )
