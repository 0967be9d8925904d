"""For mkdocs: pages of docs/ link to files beside docs/, which join the site with the same paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?:\.\./)+([^)#\s]+)(#[^)\s]*)?\)")
FIGURE = re.compile(r"\]\((?!https?:|\.\./|#)([^)#\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to, and the figures of those that are pages themselves."""
    wanted = sorted(
        {match[1] for page in (ROOT / "docs").rglob("*.md") for match in LINK.finditer(page.read_text("utf-8"))}
    )
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        path = ROOT / name
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        files.append(File.generated(config, name, abs_src_path=str(path)))
        if path.suffix == ".md":
            wanted += [
                str((path.parent / match[1]).resolve().relative_to(ROOT))
                for match in FIGURE.finditer(path.read_text("utf-8"))
            ]
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """In docs/ ``../`` leaves the directory; in the site what it names lies beside the pages."""
    return LINK.sub(r"](\1\2)", markdown) if "/" not in page.file.src_uri else markdown
