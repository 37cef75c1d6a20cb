"""Run the tests of the plugin on several zrb releases, and print a table: `make matrix RELEASES="3.28.0 latest"`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.chosen import releases
from tests.zrb.environments import ROOT, environment


def run(release: str) -> tuple[str, list[str]]:
    """Run the tests on one release.

    Returns:
        A row of the table, and the tests that failed.
    """
    began = time.monotonic()
    places = ["tests/zrb", "tests/agents/zrb", *map(str, ROOT.glob("tests/*/test_under_zrb.py"))]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "2", *places, f"--junit-xml={report}"],
            cwd=ROOT,
            env={**os.environ, "TEST_ZRB_RELEASES": release},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        suite = ElementTree.parse(report).getroot()[0]
    bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    passed = int(suite.get("tests", 0)) - bad - skipped
    failed = [str(case.get("name")) for case in suite.iter("testcase") if case.find("failure") is not None]
    row = f"{release:10} {installed(release):10} {passed:6} {bad:6} {skipped:7} {time.monotonic() - began:6.0f} s"
    return row, failed


def installed(release: str) -> str:
    """Return the version of zrb in the release's environment."""
    (info,) = environment(release).glob("lib/*/site-packages/zrb-*.dist-info")
    match = re.fullmatch(r"zrb-(.+)\.dist-info", info.name)
    return match[1] if match else "?"


def main() -> int:
    """Run all releases, and return 1 if a test failed."""
    rows = []
    failures: list[str] = []
    for release in releases():
        print(f"zrb {release} ...", file=sys.stderr, flush=True)
        row, failed = run(release)
        rows.append(row)
        failures += failed
    print(f"{'release':10} {'zrb':10} passed failed skipped   took")
    print("\n".join(rows))
    print("".join(f"FAILED {name}\n" for name in failures), end="")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
