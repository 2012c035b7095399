"""What the code cites and the documentation links to exists: pages, sections, files."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".cff", ".ipynb"}
CITATION = re.compile(r"\bdocs/[\w/]+\.md(?:#[\w-]+)?")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE_NAME = re.compile(r"`(\w[\w/]*/[\w/]+\.(?:py|yaml|sh|md|ipynb))`")


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    paths = [REPOSITORY / name for name in names.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in TEXT and path.is_file()]


@cache
def sections(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    fenced = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", fenced, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).strip().replace(" ", "-") for heading in headings}


def missing(target: str, base: Path) -> str | None:
    """Why `page.md#section` relative to a folder cannot be followed, or None."""
    name, _, anchor = target.partition("#")
    page = (base / name).resolve()
    if not page.exists():
        return f"no {name}"
    if anchor and page.suffix == ".md" and anchor not in sections(page):
        return f"{name} has no section {anchor}; it has {', '.join(sorted(sections(page)))}"
    return None


def test_citations_resolve():
    wrong = []
    for path in tracked():
        if path == Path(__file__):
            continue
        found = {citation: missing(citation, REPOSITORY) for citation in CITATION.findall(path.read_text())}
        wrong += [f"{path.relative_to(REPOSITORY)}: {reason}" for reason in found.values() if reason]
    assert not wrong, "\n".join(wrong)


def test_no_citation_leads_out_of_the_repository():
    notes = re.compile(r"\bcards?[ /](?:protocol|models|data|piclick|icmformer|focalclick|vtmr|disnet)|\(cards?,")
    assert not [str(path) for path in tracked() if path != Path(__file__) and notes.search(path.read_text())]


PAGES = [path for path in tracked() if path.suffix == ".md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_resolve(page):
    links = [link for link in LINK.findall(page.read_text()) if not link.startswith(("http:", "https:", "mailto:"))]
    anchored = [f"{page.name}{link}" if link.startswith("#") else link for link in links]
    wrong = [f"{link}: {reason}" for link in anchored if (reason := missing(link, page.parent))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", [p for p in PAGES if "docs" in p.parts], ids=lambda path: path.stem)
def test_files_named_in_the_documentation_exist(page):
    places = ["", "src/clicklab", "experiments"]
    places += [f"experiments/{page.stem}", f"src/clicklab/methods/{page.stem}"]
    rooms = [
        folder.name for base in ("", "src/clicklab") for folder in (REPOSITORY / base).iterdir() if folder.is_dir()
    ]
    names = [
        name for name in FILE_NAME.findall(page.read_text()) if name.split("/")[0] in rooms
    ]  # others: official code
    absent = [name for name in names if not any((REPOSITORY / place / name).exists() for place in places)]
    assert not absent


def test_the_index_lists_every_page():
    pages = [path.relative_to(REPOSITORY / "docs") for path in sorted((REPOSITORY / "docs").rglob("*.md"))]
    index = (REPOSITORY / "docs/README.md").read_text()
    assert not [page for page in pages if f"({page})" not in index and page.name != "README.md"]
