import pytest

from seqkd.errors import DataError
from seqkd.scoring import read_text, read_trn, write_text, write_trn

TRANSCRIPTS = {"spk1-a": "one two", "spk1-b": "", "spk2-a": "grün ja"}


def test_round_trips(tmp_path):
    write_text(tmp_path / "text", TRANSCRIPTS)
    write_trn(tmp_path / "hyp.trn", TRANSCRIPTS)
    assert read_text(tmp_path / "text") == TRANSCRIPTS
    assert read_trn(tmp_path / "hyp.trn") == TRANSCRIPTS
    assert (tmp_path / "text").read_text("utf-8") == "spk1-a one two\nspk1-b\nspk2-a grün ja\n"
    assert (tmp_path / "hyp.trn").read_text("utf-8") == "one two (spk1-a)\n(spk1-b)\ngrün ja (spk2-a)\n"


def test_writing_sorts_by_id_and_keeps_one_line_each(tmp_path):
    write_text(tmp_path / "text", {"b": "two\nlines", "a": " x  y "})
    assert (tmp_path / "text").read_text() == "a x y\nb two lines\n"


def test_what_other_tools_write(tmp_path):
    path = tmp_path / "hyp.trn"
    path.write_bytes("\ufeff;; a comment\r\n(uh) one\ttwo(spk-1)\r\nthree (spk-2) \r\n".encode())
    assert read_trn(path) == {"spk-1": "(uh) one two", "spk-2": "three"}
    path = tmp_path / "text"
    path.write_bytes("a one\x0ctwo\r\nb\tthree\u2028four".encode())
    assert read_text(path) == {"a": "one two", "b": "three four"}


@pytest.mark.parametrize(
    ("read", "content", "sentence"),
    [
        (read_text, b"a one\nb two\na three\n", "line 3: utterance a was already given in line 1."),
        (
            read_text,
            b"a one\n\nb two\n",
            "line 2: the line is blank; expected an utterance id and its words.",
        ),
        (read_text, b"a one\nb \xff\n", "line 2: the text is not UTF-8."),
        (read_text, b"", "holds no transcripts; expected on each line an utterance id and its words."),
        (
            read_trn,
            b"one (a)\ntwo\n",
            "line 2: found 'two'; expected words and then the utterance id in paren",
        ),
        (read_trn, b"one ()\n", "line 1: found 'one ()'; expected words and then the utterance id in paren"),
        (read_trn, b"one (a)\ntwo (a)\n", "line 2: utterance a was already given in line 1."),
        (read_trn, b";; nothing\n", "holds no transcripts"),
    ],
)
def test_faults_name_file_and_line(tmp_path, read, content, sentence):
    path = tmp_path / "some_file"
    path.write_bytes(content)
    with pytest.raises(DataError) as fault:
        read(path)
    assert str(fault.value).startswith(str(path))
    assert sentence in str(fault.value)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match="nothing: no such file"):
        read_text(tmp_path / "nothing")
    with pytest.raises(DataError, match="is a directory; expected a file of transcripts"):
        read_text(tmp_path)


@pytest.mark.parametrize("utterance", ["", "a b", "a(1)"])
def test_ids_that_cannot_be_written(tmp_path, utterance):
    for write in write_text, write_trn:
        with pytest.raises(DataError, match="cannot be written"):
            write(tmp_path / "file", {utterance: "x"})
    assert not list(tmp_path.iterdir())
