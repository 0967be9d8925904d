"""docs/papers.md is what local/paper_index.py makes of the systems and tables there are."""

import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_index_is_up_to_date():
    made = runpy.run_path(str(ROOT / "local" / "paper_index.py"))
    assert (ROOT / "docs" / "papers.md").read_text(encoding="utf-8") == made["index"](), "run local/paper_index.py"


def test_sixteen_systems_have_a_home_and_every_classifier_with_a_paper_is_listed():
    papers = yaml.safe_load((ROOT / "local" / "papers.yaml").read_text(encoding="utf-8"))
    assert len(papers) == 16
    listed = {name for paper in papers if paper["task"] == "classification" for name in paper["systems"]}
    files = (ROOT / "seqkd/conf/classification/system").glob("*.yaml")
    named = {path.stem for path in files if (yaml.safe_load(path.read_text()).get("paper") or "").startswith("10.")}
    assert named - listed <= {"jda"}
