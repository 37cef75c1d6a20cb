"""Build the site from the Markdown of this repository, as it is read on GitHub: `make docs` writes it to build/site.

The README is the first page, and docs/README.md lists the others: its sections are those of the site. A link to what is
no page of the site leads to the repository. The build fails at a link to a page or a heading that does not exist.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/zrb-store/zrb-store"
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "RELEASING.md",
    "SECURITY.md",
    "docs/**/*.md",
    "benchmarks/*.md",
)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")

Section: TypeAlias = dict[str, "str | list[dict[str, str]]"]


def sections() -> list[Section]:
    """Return the pages of each section of docs/README.md, with what it calls them."""
    site: list[Section] = [{"zrb-store": "README.md"}]
    for section in (ROOT / "docs/README.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        text = text.replace("\n", " ")
        pages = [(label, f"docs/{path}") for label, path, _ in _LINK.findall(text) if not path.startswith("..")]
        site.append({title: [{label[0].upper() + label[1:]: path} for label, path in pages]})
    decisions = sorted(path.relative_to(ROOT) for path in (ROOT / "docs/adr").glob("0*.md"))
    site.append({"Decisions": [{_heading(path): str(path)} for path in decisions]})
    project = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "RELEASING.md")
    return [*site, {"Project": [{_heading(Path(path)): path} for path in project]}]


def _heading(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").replace("`", "")


def with_links_to_repository(page: Path, text: str, pages: set[Path]) -> str:
    """Return the text of a page with absolute links to files of the repository that are no pages."""

    def absolute(link: re.Match[str]) -> str:
        label, path, anchor = link.groups(default="")
        target = (ROOT / page.parent / path).resolve()
        if not target.exists() or target.relative_to(ROOT) in pages or "images" in target.parts:
            return link[0]
        return f"[{label}]({REPOSITORY}/blob/main/{target.relative_to(ROOT)}{anchor})"

    return _LINK.sub(absolute, text)


def build(folder: Path) -> None:
    """Write the site to a folder, or exit with what is wrong with it."""
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    pages = {path.relative_to(ROOT) for pattern in PAGES for path in ROOT.glob(pattern)}
    pages -= {page for page in pages if page.parent.name == "benchmarks" and page.name != "RESULTS.md"}
    for page in pages:
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / page).read_text(encoding="utf-8")
        (source / page).write_text(with_links_to_repository(page, text, pages), encoding="utf-8")
    shutil.copytree(ROOT / "docs/images", source / "docs/images")
    toggles = (("light", "default", "dark", "weather-night"), ("dark", "slate", "light", "weather-sunny"))
    settings = {
        "site_name": "zrb-store",
        "site_description": "Jobs that die continue where they stopped: scripts, Python programs and zrb workflows.",
        "extra": {"social": [{"icon": "fontawesome/brands/github", "link": REPOSITORY, "name": "Repository"}]},
        "docs_dir": "source",
        "site_dir": "site",
        "nav": sections(),
        "theme": {
            "font": False,  # no request to another host, as `repo_url` would also make
            "features": ["navigation.sections", "navigation.top", "content.code.copy", "search.highlight"],
            "palette": [
                {
                    "media": f"(prefers-color-scheme: {scheme})",
                    "scheme": name,
                    "toggle": {"icon": f"material/{icon}", "name": f"Switch to {other} mode"},
                }
                for scheme, name, other, icon in toggles
            ],
        },
    }
    (folder / "mkdocs.yml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    command = (Path(sys.executable).parent / "zensical", "build", "--strict", "--config-file", folder / "mkdocs.yml")
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    build(ROOT / "build/docs")
