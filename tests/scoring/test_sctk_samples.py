"""All of NIST's sample files give sclite's counts, or are refused for a reason; see sctk_samples.md."""

import subprocess

import pytest

from seqkd.scoring import SCLITE, count
from seqkd.scoring.formats import Reading, read_hypotheses, read_references
from tests.scoring import sclite
from tests.scoring.sctk_samples import DIFFERS, RUNS, SAMPLES, TABLE, table


def require():
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} is missing")
    sclite.require()


def test_the_table_is_up_to_date_and_nothing_differs():
    require()
    made = table()
    assert DIFFERS not in made
    assert made.count("| equal |") >= 45
    assert made == TABLE.read_text("utf-8")


def test_every_file_is_in_the_table():
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} is missing")
    named = {name for run in RUNS for name in (run.ref, run.hyp, *run.flags.split())}
    others = {"LICENSE.md", "README.md", "en20090415.glm"}  # the last is held against rfilter1 in test_glm.py
    results = {path.name for path in SAMPLES.glob("test1[ab].*")}  # what sc_stats says of the two SGML files
    assert {path.name for path in SAMPLES.iterdir()} - named - others - results == set()


@pytest.mark.parametrize(("flags", "markup", "fragments"), [("", "alternatives", False), ("-F -D", "all", True)])
def test_every_utterance_of_the_hard_cases(tmp_path, flags, markup, fragments):
    require()
    command = [sclite.require() / "sclite", "-r", SAMPLES / "tests.ref", "-h", SAMPLES / "tests.hyp", "-i", "spu_id"]
    command += [*flags.split(), "-o", "sgml", "-O", tmp_path, "-n", "x"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    theirs = {
        utterance: [sum(step == kind for step, *_ in steps) for kind in "SDI"]
        for utterance, steps in sclite.alignments((tmp_path / "x.sgml").read_text("utf-8")).items()
    }
    references, _ = read_references(SAMPLES / "tests.ref", Reading(strict=False))
    hypotheses = read_hypotheses(SAMPLES / "tests.hyp", None, Reading(strict=False), references="trn")
    done = count(
        references.texts, hypotheses.texts, costs=SCLITE, characters=False, markup=markup,
        hypothesis_markup=markup, fragments=fragments,
    )  # fmt: skip
    words = done.words
    ours = dict(zip(done.ids, zip(words.substitutions, words.deletions, words.insertions, strict=True), strict=True))
    assert len(ours) == len(theirs) == 58
    assert {utterance: list(map(int, counts)) for utterance, counts in ours.items()} == theirs
