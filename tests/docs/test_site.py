"""The site of the documentation: each page is in its navigation, and each link of a page leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from docs.build_site import ROOT, sections, with_links_to_repository


def test_the_navigation_has_each_page() -> None:
    named = {
        path
        for section in sections()
        for pages in section.values()
        for path in ([pages] if isinstance(pages, str) else [path for page in pages for path in page.values()])
    }
    written = {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")}
    assert named - {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"} == (
        written - {"docs/README.md"}
    )


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("[a](steps.md#once)", "[a](steps.md#once)"),
        ("[b](../../LICENSE)", "[b](https://github.com/zrb-store/zrb-store/blob/main/LICENSE)"),
        ("[c](../images/report-dark.png)", "[c](../images/report-dark.png)"),
        ("[d](https://example.org/x)", "[d](https://example.org/x)"),
    ],
)
def test_a_link_to_what_is_no_page_leads_to_the_repository(link: str, becomes: str) -> None:
    pages = {Path("docs/how-to/steps.md")}
    assert with_links_to_repository(Path("docs/how-to/waiting.md"), link, pages) == becomes


@pytest.mark.slow
def test_the_site_has_no_broken_link() -> None:
    built = subprocess.run(
        [sys.executable, "docs/build_site.py"], cwd=ROOT, text=True, capture_output=True, timeout=300, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert (ROOT / "build/docs/site/index.html").is_file()
