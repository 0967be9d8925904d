"""Directories of pairs, and importing a user's parallel text."""

import inspect
import json
import random
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from seqkd.corpora.text.parallel import is_made, make_corpus, remove_repeats
from seqkd.corpora.text.parallel_split import split_groups
from seqkd.errors import ConfigError, DataError
from seqkd.translation.pairs import Dropped, SentencePair, filter_pairs, pairs_fingerprint, read_pairs, write_pairs

PAIRS = [SentencePair("b", "the second", "das zweite"), SentencePair("a", "the  first\tone", "das »erste«")]
SETS = ("train", "dev", "test")


def message(call, *args, kind=DataError, **kwargs):
    """What is said of a fault: one sentence."""
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


# Directories of pairs


def test_pairs_come_back_sorted_with_white_space_collapsed(tmp_path):
    write_pairs(tmp_path / "set", PAIRS)
    expected = [SentencePair("a", "the first one", "das »erste«"), SentencePair("b", "the second", "das zweite")]
    assert read_pairs(tmp_path / "set") == expected
    assert (tmp_path / "set" / "src").read_bytes() == b"a the first one\nb the second\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_order_of_the_files_is_kept_if_it_is_the_same_in_both(tmp_path):
    (tmp_path / "src").write_text("z one\na two\n")
    (tmp_path / "tgt").write_text("z eins\na zwei\n")
    assert [pair.id for pair in read_pairs(tmp_path)] == ["z", "a"]


def test_writing_the_same_pairs_again_leaves_the_files_alone(tmp_path):
    write_pairs(tmp_path / "set", PAIRS)
    (tmp_path / "set" / "other").touch()
    write_pairs(tmp_path / "set", PAIRS[::-1])
    assert (tmp_path / "set" / "other").exists()
    write_pairs(tmp_path / "set", PAIRS[:1])  # what was made from the old pairs must not outlive them
    assert not (tmp_path / "set" / "other").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_nothing_is_written_of_pairs_that_cannot_be(tmp_path):
    path = tmp_path / "set"
    assert message(write_pairs, path, []) == f"Data directory {path} would be empty: no pairs to write."
    assert message(write_pairs, path, [PAIRS[0]] * 2) == f"Data directory {path} would have pair id 'b' twice."
    assert "pair id 'a b' is empty or has white space" in message(write_pairs, path, [SentencePair("a b", "x", "y")])
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_tells_every_part_of_a_pair_and_the_order():
    variants = [
        PAIRS,
        PAIRS[::-1],
        PAIRS[:1],
        [SentencePair("c", *(PAIRS[0].source, PAIRS[0].target)), PAIRS[1]],
        [SentencePair("b", "the  second", "das zweite"), PAIRS[1]],
        [SentencePair("b", "the second", "das zweite "), PAIRS[1]],
    ]
    prints = [pairs_fingerprint(variant) for variant in variants]
    assert len(set(prints)) == len(variants)
    assert prints[0] == pairs_fingerprint(list(PAIRS))


FAULTS = [
    (b"a x\nb y\n", b"a u\n", "{src} has 2 lines, but {tgt} has 1; expected one pair a line in both."),
    (
        b"a x\nb y\n",
        b"b v\na u\n",
        "{tgt}, line 1: found id 'b', expected 'a' as in src; put both files into the same order.",
    ),
    (
        b"a x\na y\n",
        b"a u\na v\n",
        "{src}, line 2: id 'a' is there already, on line 1; every id must be unique, remove or rename one.",
    ),
    (
        b"a x\n\nb y\n",
        b"a u\n",
        "{src}, line 2 is blank; expected a pair id and a text; remove the line.",
    ),
    (b"", b"", "{src} is empty; expected one pair a line, each an id and a text."),
    (
        b"a x\nb f\xfcr\n",
        b"a u\nb v\n",
        "{src}, line 2: byte 4 (0xfc) is not valid UTF-8; convert the file to UTF-8, for instance with iconv.",
    ),
    (
        b"a x\n",
        b"a \x00u\n",
        "{tgt}, line 1: character 3 is a NUL; expected text: remove it, or convert the file if it is UTF-16.",
    ),
]


@pytest.mark.parametrize(("src", "tgt", "expected"), FAULTS)
def test_faults_of_a_directory(tmp_path, src, tgt, expected):
    (tmp_path / "src").write_bytes(src)
    (tmp_path / "tgt").write_bytes(tgt)
    assert message(read_pairs, tmp_path) == expected.format(src=tmp_path / "src", tgt=tmp_path / "tgt")


def test_missing_table(tmp_path):
    (tmp_path / "src").write_text("a x\n")
    assert message(read_pairs, tmp_path) == f"{tmp_path / 'tgt'} is missing; a directory of pairs needs src and tgt."


def test_pairs_that_do_not_suit_are_dropped_by_the_first_reason():
    texts = {
        "empty": ("", "ein langer Text mit vielen Wörtern"),
        "exact": ("one two three", "eins zwei drei vier"),  # at the limit of 4 words
        "long": ("one", "eins zwei drei vier fünf"),
        "ratio": ("one", "eins zwei drei"),
        "twice": ("one", "eins zwei"),  # at the limit of 2
    }
    pairs = [SentencePair(key, *sides) for key, sides in texts.items()]
    kept, dropped = filter_pairs(pairs, max_words=4, max_ratio=2.0)
    assert [pair.id for pair in kept] == ["exact", "twice"]
    assert dropped == Dropped(empty=1, over_long=1, unbalanced=1)
    assert dropped.total == 3
    assert str(dropped) == "1 with an empty side, 1 over-long, 1 unbalanced"
    kept, dropped = filter_pairs(pairs, max_words=4)
    assert [pair.id for pair in kept] == ["exact", "ratio", "twice"]
    assert str(Dropped()) == "none"


def test_limits_out_of_range():
    assert "max_words is 0" in message(filter_pairs, PAIRS, max_words=0, kind=ConfigError)
    assert "max_ratio is 0.5" in message(filter_pairs, PAIRS, max_words=9, max_ratio=0.5, kind=ConfigError)


# Splits


def test_no_group_straddles_and_sets_get_at_most_their_sizes(tmp_path):
    rng = random.Random(0)
    groups = [f"g{rng.randrange(60)}" for _ in range(400)]
    sizes = {"test": 50, "dev": 30}
    places = split_groups(groups, sizes, 1, tmp_path / "split.json")
    found = {name: {group for group, place in zip(groups, places, strict=True) if place == name} for name in SETS}
    for one, other in combinations(SETS, 2):
        assert not found[one] & found[other]
    for name, size in sizes.items():
        assert size - 4 <= places.count(name) <= size
    (tmp_path / "split.json").unlink()
    shuffled = list(range(400))
    rng.shuffle(shuffled)
    again = split_groups([groups[index] for index in shuffled], sizes, 1, tmp_path / "split.json")
    assert again == [places[index] for index in shuffled]  # whatever the order of the data
    assert split_groups(groups, sizes, 2, tmp_path / "split.json") != places


def test_split_is_kept_when_data_grow(tmp_path):
    groups = [f"g{index:03d}" for index in range(100)]
    file = tmp_path / "split.json"
    places = split_groups(groups, {"test": 10, "dev": 10}, 1, file)
    grown = [f"new{index:03d}" for index in range(100)] + groups
    assert split_groups(grown, {"test": 10, "dev": 10}, 1, file) == ["train"] * 100 + places
    file.write_text("{broken")
    assert split_groups(groups, {"test": 10, "dev": 10}, 1, file) == places
    assert json.loads(file.read_text())["groups"] == {
        group: place for group, place in zip(groups, places, strict=True) if place != "train"
    }


def test_large_groups_go_to_train(tmp_path):
    groups = ["large"] * 40 + [f"g{index}" for index in range(200)]
    for seed in range(5):
        places = split_groups(groups, {"test": 100}, seed, tmp_path / f"{seed}.json", largest=0.3)
        assert set(places[:40]) == {"train"}
        assert places.count("test") == 100


def test_impossible_splits(tmp_path):
    file = tmp_path / "split.json"
    assert message(split_groups, ["a", "b", "c"], {"test": 2, "dev": 1}, 1, file) == (
        "test and dev ask for 3 pairs, but there are only 3, and some must be left for train; ask for fewer."
    )
    assert message(split_groups, ["a"] * 5 + ["b"] * 4, {"test": 3}, 1, file) == (
        "test would be empty: none of the 2 groups (the smallest has 4 pairs) is left for it that has at most 3, "
        "which is 100% of the 3 it asks for; ask for more, or split into smaller groups."
    )
    assert not file.exists()


def test_repeats_are_taken_out_of_the_earlier_set():
    sets = {
        "train": [
            SentencePair("1", "One.", "a"),
            SentencePair("2", "two", "b"),
            SentencePair("3", "three", "c"),
            SentencePair("4", "three", "d"),
        ],
        "dev": [SentencePair("1", "two", "b"), SentencePair("2", "four", "c")],
        "test": [SentencePair("1", "one.", "a"), SentencePair("2", "FOUR", "c")],
    }
    kept, lost = remove_repeats(sets)
    assert {name: [pair.id for pair in pairs] for name, pairs in kept.items()} == {
        "train": ["3", "4"],
        "dev": ["1"],
        "test": ["1", "2"],
    }
    assert lost == {"train": 2, "dev": 1, "test": 0}


# Importing


def texts(tmp_path, count=100, ending=b"\n"):
    """Two files side by side; every tenth sentence is the same."""
    lines = ["the same sentence" if index % 10 == 0 else f"sentence number {index}" for index in range(count)]
    source, target = tmp_path / "train.en", tmp_path / "train.de"
    source.write_bytes(ending.join(line.encode() for line in lines) + ending)
    target.write_bytes(ending.join(f"Satz Nummer {index} – schön".encode() for index in range(count)) + ending)
    return source, target


def test_two_files(tmp_path, capsys):
    source, target = texts(tmp_path)
    make_corpus(tmp_path / "data", nj=1, source=str(source), target=str(target), dev=10, test=20)
    sets = {name: read_pairs(tmp_path / "data" / name) for name in SETS}
    assert {name: len(pairs) for name, pairs in sets.items()} == {"train": 70, "dev": 10, "test": 20}
    # Ids are line numbers, so every pair can be found again.
    assert sorted(pair.id for pairs in sets.values() for pair in pairs) == [f"{line:07d}" for line in range(1, 101)]
    assert all(int(pair.id) == int(pair.target.split()[2]) + 1 for pairs in sets.values() for pair in pairs)
    sources = {name: {pair.source for pair in pairs} for name, pairs in sets.items()}
    for one, other in combinations(SETS, 2):
        assert not sources[one] & sources[other]
    assert "train.en: 100 of 100 pairs; left out: none" in capsys.readouterr().err
    origin = json.loads((tmp_path / "data" / "origin.json").read_text())
    assert origin["sets"]["test"]["pairs"] == 20
    assert origin["sets"]["dev"]["source_words"] == sum(pair.words[0] for pair in sets["dev"])


def test_import_is_repeatable_and_reads_what_windows_writes(tmp_path):
    results = []
    for name, ending in (("one", b"\n"), ("two", b"\r\n")):
        (tmp_path / name).mkdir()
        source, target = texts(tmp_path / name, ending=ending)
        source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
        make_corpus(tmp_path / name / "data", nj=3, source=source, target=target, dev=5, test=5)
        results.append([pairs_fingerprint(read_pairs(tmp_path / name / "data" / part)) for part in SETS])
        sources = [pair.source for part in SETS for pair in read_pairs(tmp_path / name / "data" / part)]
        assert sources.count("the same sentence") == 10  # the first line with its byte order mark among them
    assert results[0] == results[1]


def test_sets_of_their_own_and_repeats(tmp_path, capsys):
    source, target = texts(tmp_path)
    test_source, test_target = tmp_path / "test.en", tmp_path / "test.de"
    test_source.write_text("the same sentence\nsomething else\n")
    test_target.write_text("derselbe Satz\netwas anderes\n")
    own = {"source": str(test_source), "target": str(test_target)}
    make_corpus(tmp_path / "data", nj=1, source=source, target=target, dev=10, test=own)
    assert [pair.target for pair in read_pairs(tmp_path / "data" / "test")] == ["derselbe Satz", "etwas anderes"]
    assert len(read_pairs(tmp_path / "data" / "train")) == 80
    assert "train: 10 pairs taken out whose source is also in dev or test" in capsys.readouterr().err


def test_table_with_ids_and_groups(tmp_path):
    rows = [f"doc{index // 10}\tid{index:03d}\tsource {index}\tZiel {index}\tnote" for index in range(100)]
    table = tmp_path / "all.tsv"
    table.write_text("document\tid\tsource\ttarget\tremark\n" + "\n".join(rows) + "\n")
    make_corpus(tmp_path / "data", nj=1, source=table, dev=20, test=20, group="document")
    sets = {name: read_pairs(tmp_path / "data" / name) for name in SETS}
    documents = {name: {int(pair.id[2:]) // 10 for pair in pairs} for name, pairs in sets.items()}
    assert [len(documents[name]) for name in SETS] == [6, 2, 2]
    for one, other in combinations(SETS, 2):
        assert not documents[one] & documents[other]
    assert all(
        pair == SentencePair(pair.id, f"source {int(pair.id[2:])}", f"Ziel {int(pair.id[2:])}") for pair in sets["dev"]
    )


def test_table_without_a_header(tmp_path):
    table = tmp_path / "all.tsv"
    table.write_text("".join(f"a {index}\tb {index}\n" for index in range(9)))
    make_corpus(tmp_path / "data", nj=1, source=table, dev=1, test=1)
    assert sum(len(read_pairs(tmp_path / "data" / name)) for name in SETS) == 9


def test_groups_in_a_file(tmp_path):
    source, target = texts(tmp_path)
    groups = tmp_path / "groups"
    groups.write_text("".join(f"talk {index % 20}\n" for index in range(100)))
    make_corpus(tmp_path / "data", nj=1, source=source, target=target, dev=10, test=10, group=str(groups))
    talks = [{(int(pair.id) - 1) % 20 for pair in read_pairs(tmp_path / "data" / name)} for name in SETS]
    assert not (talks[0] & talks[1] | talks[0] & talks[2] | talks[1] & talks[2])
    groups.write_text("one\n" * 99)
    assert message(make_corpus, tmp_path / "data", nj=1, source=source, target=target, group=str(groups)) == (
        f"{source} has 100 lines, but {groups} has 99; expected as many, line by line beside each other: "
        "find where they part, or align the texts anew."
    )


def test_empty_lines_are_an_error_that_names_them_or_are_dropped(tmp_path, capsys):
    source, target = texts(tmp_path)
    lines = source.read_text().split("\n")
    for index in (1, 2, 3, 4, 5, 6, 7):
        lines[index] = " \t "
    source.write_text("\n".join(lines))
    target.write_text(target.read_text().replace("Satz Nummer 41 – schön", ""))
    settings = {"nj": 1, "source": source, "target": target, "dev": 5, "test": 5}
    assert message(make_corpus, tmp_path / "data", **settings) == (
        f"There are lines without text ({source}: lines 2, 3, 4, 5, 6 and 2 more; {target}: line 42); mend or remove "
        "these pairs, or leave them out by the setting corpus.drop_empty=true."
    )
    make_corpus(tmp_path / "data", **settings, drop_empty=True)
    assert "92 of 100 pairs; left out: 8 with an empty side" in capsys.readouterr().err


def test_over_long_lines_are_dropped_and_counted(tmp_path, capsys):
    source, target = texts(tmp_path)
    source.write_text(source.read_text().replace("sentence number 33\n", "word " * 300 + "\n"))
    make_corpus(tmp_path / "data", nj=1, source=source, target=target, dev=5, test=5)
    assert "99 of 100 pairs; left out: 1 over-long" in capsys.readouterr().err
    assert message(make_corpus, tmp_path / "data", nj=1, source=source, target=target, max_words=1) == (
        f"{source}: none of its 100 pairs is usable; left out: 100 over-long."
    )


BAD_FILES = [
    ("train.en", b"one\ntwo\n", "train.de", b"eins\n", "train.en has 2 lines, but {}/train.de has 1; expected as many"),
    ("train.en", b"one\ntw\xf6\n", "train.de", b"eins\nzwei\n", "train.en, line 2: byte 3 (0xf6) is not valid UTF-8"),
    ("train.en", "one\n".encode("utf-16"), "train.de", b"eins\n", "train.en, line 1: byte 1 (0xff) is not valid UTF-8"),
    ("train.en", "one\n".encode("utf-16-le"), "train.de", b"eins\n", "train.en, line 1: character 2 is a NUL"),
    ("train.en", b"", "train.de", b"", "train.en is empty; expected one sentence a line."),
    ("train.tsv", b"a\tb\na\tb\tc\n", None, b"", "train.tsv, line 2: found 3 columns, expected 2 (source, target)"),
    ("train.tsv", b"a b\n", None, b"", "train.tsv, line 1: found 1 columns, expected 2 (source, target)"),
    ("train.tsv", b"source\ttarget\tid\na\tb\n", None, b"", "line 2: found 2 columns, expected 3 (source, target, id)"),
    ("train.tsv", b"source\ttarget\tid\na\tb\tx\nc\td\tx\n", None, b"", "line 3: id 'x' is there already, on line 2"),
    (
        "train.tsv",
        b"source\ttarget\tid\na\tb\tx y\n",
        None,
        b"",
        "line 2: id is 'x y'; expected one on every line, with",
    ),
    ("train.tsv", b"source\ttarget\tgroup\na\tb\t\n", None, b"", "line 2: group is ''; expected one on every line."),
    ("train.tsv", b"source\ttarget\tsource\na\tb\tc\n", None, b"", "line 1: a column is there twice in the header"),
    ("train.en", b"one\n", None, b"", "train.en has no target; name the file of translations (corpus.target)"),
]


@pytest.mark.parametrize(("name", "content", "other", "content2", "expected"), BAD_FILES)
def test_bad_files(tmp_path, name, content, other, content2, expected):
    (tmp_path / name).write_bytes(content)
    if other:
        (tmp_path / other).write_bytes(content2)
    target = tmp_path / other if other else None
    found = message(make_corpus, tmp_path / "data", nj=1, source=tmp_path / name, target=target, dev=1, test=1)
    assert found.startswith(str(tmp_path))
    assert expected.format(tmp_path) in found
    assert not (tmp_path / "data").exists()


def test_bad_settings(tmp_path):
    source, target = texts(tmp_path)
    common = {"nj": 1, "source": source, "target": target}
    assert message(make_corpus, tmp_path / "d", **{**common, "source": tmp_path / "no.en"}) == (
        f"{tmp_path / 'no.en'} does not exist; mend the path."
    )
    assert message(make_corpus, tmp_path / "d", **{**common, "target": "no.de"}) == (
        f"no.de does not exist in {Path.cwd()}; mend the path."
    )
    assert message(make_corpus, tmp_path / "d", **{**common, "source": tmp_path}) == (
        f"{tmp_path} cannot be read: Is a directory."
    )
    assert "test and dev ask for 2000 pairs, but there are only 100" in message(make_corpus, tmp_path / "d", **common)
    assert "source is None" in message(make_corpus, tmp_path / "d", **{**common, "source": None}, kind=ConfigError)
    assert "dev is 0.5" in message(make_corpus, tmp_path / "d", **common, dev=0.5, kind=ConfigError)
    assert "test has unknown key 'src'" in message(
        make_corpus, tmp_path / "d", **common, test={"src": "x"}, kind=ConfigError
    )
    table = tmp_path / "t.tsv"
    table.write_text("source\ttarget\na\tb\n")
    assert message(make_corpus, tmp_path / "d", nj=1, source=table, group="speaker") == (
        f"{table}, line 1: there is no column 'speaker'; found source, target, expected a header with source, target "
        "and speaker."
    )
    assert not (tmp_path / "d").exists()


def test_the_template_gives_every_setting_with_its_default():
    preset = Path(__file__).parents[3] / "egs" / "TEMPLATE" / "seq2seq_ls" / "conf" / "preset" / "default.yaml"
    settings = yaml.safe_load(preset.read_text(encoding="utf-8"))["corpus"]
    assert settings.pop("_target_") == f"{make_corpus.__module__}.{make_corpus.__name__}"
    known = inspect.signature(make_corpus).parameters
    assert settings == {
        name: None if name == "source" else parameter.default
        for name, parameter in known.items()
        if name not in ("data_dir", "nj")
    }


def test_what_is_made_is_known_by_its_settings_and_its_contents(tmp_path):
    source, target = texts(tmp_path)
    make_corpus(tmp_path / "data", nj=1, source=source, target=target, dev=5, test=5)
    assert not is_made(tmp_path / "data", "mark")  # an import is always read anew
    origin = json.loads((tmp_path / "data" / "origin.json").read_text())
    (tmp_path / "data" / "origin.json").write_text(json.dumps({**origin, "settings": "mark"}))
    assert is_made(tmp_path / "data", "mark")
    assert not is_made(tmp_path / "data", "other")
    table = tmp_path / "data" / "dev" / "tgt"
    table.write_text(table.read_text().replace("schön", "schon", 1))
    assert not is_made(tmp_path / "data", "mark")
