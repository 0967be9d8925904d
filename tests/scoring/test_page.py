"""The HTML report: one file, harmless whatever the transcripts hold, and a browser can show it."""

import html
import html.parser
import json
import re
import shutil
import subprocess

import pytest

from seqkd.scoring import write_text
from seqkd.scoring.evaluate import Options, evaluate
from seqkd.scoring.page import write_page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img/src=x/onerror=alert(2)>",
    "<!--",
    "&lt;b&gt;",
    "\"'`",
    "__DATA__",
    "</title>",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    references = {f"s{i % 3}-{i:03}": f"{HOSTILE[i % 7]} one two {'漢字' if i % 2 else 'שלום'}" for i in range(60)}
    references["s0-<i>"] = "plain"
    write_text(folder / "ref", references)
    lines = []
    for i, (utterance, text) in enumerate(references.items()):
        words = text.split()[: 3 if i % 4 == 0 else None]
        lines.append({"id": utterance, "text": " ".join(words), "confidences": [0.9] * len(words), "nbest": [text]})
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_text(folder / "b", {u: text.replace("one", HOSTILE[0]) for u, text in references.items()})
    write_text(folder / "utt2dur", dict.fromkeys(references, "3.5"))
    options = Options(utt2spk="prefix", utt2dur=folder / "utt2dur", replicates=50, paired_replicates=50)
    evaluation = evaluate(folder / "ref", {"<b>a</b>": folder / "a.jsonl", "b": folder / "b"}, options)
    write_page(folder / "score.html", evaluation)
    return folder / "score.html", evaluation


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_one_file_without_external_resources(made):
    text = made[0].read_text("utf-8")
    parser = Tags()
    parser.feed(text)
    assert not [tag for tag, _ in parser.tags if tag in ("link", "img", "iframe", "object", "base", "form")]
    assert not [1 for _, attributes in parser.tags if attributes.keys() & {"src", "href", "onerror", "onload"}]
    assert len([tag for tag, _ in parser.tags if tag == "script"]) == 2
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = [attributes["content"] for tag, attributes in parser.tags if "http-equiv" in attributes]
    assert policy.startswith("default-src 'none';")


def test_the_data_can_end_nothing(made):
    path, evaluation = made
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)[1]
    assert not set("<>&") & set(data)
    read = json.loads(data)
    assert read["score"] == json.loads(json.dumps(evaluation.json))
    assert set(HOSTILE) <= set(read["vocabulary"])
    shown = read["utterances"]
    place = shown["ids"].index("s0-<i>")
    assert [read["vocabulary"][word] for word in shown["refs"][place]] == ["plain"]
    assert str(place) not in shown["systems"]["b"]["rows"]  # all is right
    code, words = shown["systems"]["b"]["rows"]["0"]
    assert (code, [read["vocabulary"][word] for word in words]) == ("1S2", [HOSTILE[0]])


def test_of_too_many_utterances_those_with_errors_are_shown(made, tmp_path):
    _, evaluation = made
    write_page(tmp_path / "x.html", evaluation, limit=20)
    data = re.search(r'id="data">(.*?)</script>', (tmp_path / "x.html").read_text("utf-8"), re.S)[1]
    shown = json.loads(data)["utterances"]
    assert len(shown["ids"]) == 20
    assert [shown["systems"]["b"][key] for key in ("total", "listed")] == [61, 20]
    assert len(shown["systems"]["b"]["rows"]) == 20  # each has an error there


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    print("skipped: no Chromium on this machine")
    pytest.skip("no Chromium on this machine")


def dumped(page, folder) -> str:
    """The page as it is after its script has run."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder}", "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    if done.returncode and "Fatal" in done.stderr:
        pytest.skip(f"Chromium does not start here: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


@pytest.mark.timeout(170)
def test_sorting_filtering_and_two_systems_in_a_browser(made, tmp_path):
    act = """<script>
const heads = document.querySelectorAll("#systems thead button");
const first = () => document.querySelector("#systems tbody th").textContent;
const report = [];
heads[1].click(); report.push(first()); heads[1].click(); report.push(first());
const set = (id, value) => { at(id).value = value; at(id).dispatchEvent(new Event("input")); };
set("other", "b"); report.push(at("shown").textContent);
at("differ").click(); report.push(at("shown").textContent);
set("filter", "s1-004"); report.push(at("shown").textContent, document.querySelectorAll(".both").length);
set("other", ""); set("filter", "nothing of the sort"); report.push(at("shown").textContent);
document.body.append(make("p", {id: "report"}, report.join("|")));
</script></body>"""
    path = tmp_path / "acted.html"
    path.write_text(made[0].read_text("utf-8").replace("</body>", act), "utf-8")
    found = re.search(r'id="report">(.*?)</p>', dumped(path, tmp_path / "profile"))[1]
    first, second, differ, wrong, one, shown, none = html.unescape(found).split("|")
    assert {first, second} == {"<b>a</b>", "b"}
    assert int(differ.split()[0]) >= 15 and int(wrong.split()[0]) == 60
    assert (one, shown, none) == ("1 of 61 utterances", "2", "0 of 61 utterances")


@pytest.mark.timeout(170)
def test_in_a_browser(made, tmp_path):
    dom = dumped(made[0], tmp_path)
    parser = Tags()
    parser.feed(dom)
    tags = [tag for tag, _ in parser.tags]
    # The script ran to its end: tables, chart, diagram and utterances are there, as text and not as markup.
    assert tags.count("script") == 2
    assert "img" not in tags
    assert len([1 for tag, attributes in parser.tags if attributes.get("class") == "utterance"]) == 15
    assert tags.count("rect") == 3 + 1
    assert tags.count("circle") == 1
    assert "15 of 61 utterances" in dom
    assert '<th scope="row">&lt;b&gt;a&lt;/b&gt;</th>' in dom
    assert "+0.00" not in dom
    assert "Brackets: 95 % intervals, Wilson's over utterances." in html.unescape(dom)
    assert re.search(r"<span[^>]*>&lt;script&gt;alert\(1\)&lt;/script&gt;</span>", dom)


@pytest.mark.timeout(170)
def test_segments_that_differ_equally_and_two_methods_in_a_browser(tmp_path):
    references = {f"s{i % 12:02}-{i:03}": "one two" for i in range(120)}
    write_text(tmp_path / "ref", references)
    write_text(tmp_path / "a", references)
    write_text(tmp_path / "b", {u: "one too" if i < 30 else text for i, (u, text) in enumerate(references.items())})
    options = Options(utt2spk="prefix", replicates=50, paired_replicates=50)
    hyps = {"a": tmp_path / "a", "b": tmp_path / "b"}
    write_page(tmp_path / "score.html", evaluate(tmp_path / "ref", hyps, options))
    text = html.unescape(dumped(tmp_path / "score.html", tmp_path / "profile"))
    assert "<td>−∞</td>" in text  # Z, which score.json has as null
    assert "bootstrap over utterances, 50 replicates (b); Wilson's over utterances (a); Wilson's over speakers." in text
    assert "p, bootstrap" in text
