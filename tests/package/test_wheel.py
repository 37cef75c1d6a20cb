"""The wheel that people install, built from the sdist: its files, its metadata, and whether it works alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from tests.support.documents import blocks
from tests.support.programs import refuse

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

MAKE_A_STORE = """
from zrb_store import open_store

with open_store("runs.db") as store:
    store.session("inbox").xcom["files"].push("a.csv")
"""

USE_IT = """
import sys
from zrb_store import open_store

with open_store("runs.db") as store:
    assert store.session("inbox").xcom["files"].pop() == "a.csv"
assert "alembic" not in sys.modules
"""


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["UV_SYSTEM_CERTS"] = "1"  # use the system's certificates, like pip, since a proxy may have its own
    result = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=900, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the sdist, which is beside it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


def files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repository() -> set[str]:
    """What git has, or would add."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines()
    return {name for name in listed if (ROOT / name).exists()}


def test_wheel_has_the_package_with_the_migrations_and_nothing_else(wheel: Path) -> None:
    package = {name for name in repository() if name.startswith("zrb_store/")}
    migrations = {f"zrb_store/_{name}" for name in repository() if name.startswith("migrations/")}
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    names = files(wheel).keys()
    info = {name for name in names if ".dist-info/" in name}
    assert {name.partition("/")[2] for name in info} == about
    assert names - info == package | migrations
    assert {"zrb_store/py.typed", "zrb_store/_migrations/versions/0001_tables.py"} <= names
    page = {Path(name).name for name in names if name.startswith("zrb_store/page/")}
    assert {"report.html", "page.js", "style.css", "uPlot.iife.min.js", "uPlot.LICENSE", "dagre.LICENSE"} <= page


def test_sdist_is_the_repository(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if not member.isdir()}
    assert names == repository() | {"PKG-INFO"}


def test_sdist_makes_the_same_wheel_as_the_repository(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT, folder=tmp_path)
    assert files(tmp_path / wheel.name) == files(wheel)


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def description(metadata: Message) -> str:
    """The page that PyPI shows."""
    text = metadata.get_payload(decode=True)
    assert isinstance(text, bytes)
    return text.decode()


def test_metadata_tells_where_the_project_lives(metadata: Message) -> None:
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    assert set(urls) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(url.startswith("https://") for url in urls.values())


def test_metadata_names_licence_python_and_types(metadata: Message, wheel: Path) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())
    classifiers = metadata.get_all("Classifier", [])
    assert not [one for one in classifiers if one.startswith("License ::")], "the licence expression replaces them"
    versions = [one.rpartition(" :: ")[2] for one in classifiers if re.search(r"Python :: 3\.\d+$", one)]
    assert versions == [f"3.{minor}" for minor in range(11, 11 + len(versions))]
    assert metadata["Requires-Python"] == f">={versions[0]}"
    assert "Typing :: Typed" in classifiers


def test_psutil_is_not_needed_on_linux(metadata: Message) -> None:
    (psutil,) = (one for one in metadata.get_all("Requires-Dist", []) if one.startswith("psutil"))
    assert re.search(r"; sys_platform != ['\"]linux['\"]$", psutil)


def test_description_is_the_readme_with_absolute_links(metadata: Message, description: str) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    prose = re.sub(r"^```.*?^```$", "", description, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(\s*([^)\s]+)", prose)
    others = re.findall(r"(?:src|srcset|href)\s*=\s*[\"']([^\"']+)|^\[[^\]]+\]:\s*(\S+)", prose, flags=re.MULTILINE)
    targets = [*links, *("".join(found) for found in others)]
    assert not [target for target in targets if not target.startswith("https://")]

    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    here = urls["Source"] + "/blob/main/"
    paths = [target.removeprefix(here).partition("#")[0] for target in targets if target.startswith(here)]
    assert "docs/tutorials/nightly-job.md" in paths
    assert not [path for path in paths if not (ROOT / path).is_file()]
    pictures = urls["Source"] + "/raw/main/"
    shown = [target.removeprefix(pictures) for target in targets if target.startswith(pictures)]
    assert shown
    assert not [path for path in shown if not (ROOT / path).is_file()]
    assert description.replace(here, "").replace(pictures, "") == (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.smoke
def test_wheel_works_without_anything_else(wheel: Path, tmp_path: Path) -> None:
    """No compiler, no variable, no repository: only what is installed, and the programs of the README's script."""
    environment, folder, programs = tmp_path / "environment", tmp_path / "empty", tmp_path / "programs"
    (folder / "www").mkdir(parents=True)
    programs.mkdir()
    for needed in ("bash", "cp", "gzip", "sh", "tar"):
        (programs / needed).symlink_to(shutil.which(needed) or refuse(needed))
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--python", sys.executable, environment, folder=folder)
    install = ("pip", "install", "--python", environment / "bin/python", "--only-binary", ":all:", wheel)
    run(*uv, *install, folder=folder)
    python, program = environment / "bin/python", environment / "bin/zrb-store"
    path = f"PATH={environment / 'bin'}:{programs}"
    alone = ("env", "-i", path)
    version = run(*alone, python, "-c", "import zrb_store; print(zrb_store.__version__)", folder=folder).strip()
    assert wheel.name.startswith(f"zrb_store-{version}-")
    assert run(*alone, program, "--version", folder=folder) == f"zrb-store {version}\n"
    run(*alone, python, "-c", MAKE_A_STORE, folder=folder)
    assert (folder / "runs.db").stat().st_mode & 0o777 == 0o600
    run(*alone, python, "-c", USE_IT, folder=folder)
    report = ("report", "inbox", "-o", "inbox.html")
    run(*alone, "ZRB_STORE_URL=runs.db", program, *report, folder=folder)
    assert "<h1>inbox</h1>" in (folder / "inbox.html").read_text(encoding="utf-8")
    assert "Usage: zrb-store" in run(*alone, program, "--help", folder=folder)

    script, in_python = (block.text for block in blocks(ROOT / "README.md") if block.text.startswith("# backup."))
    (folder / "backup.sh").write_text(script)
    (folder / "backup.py").write_text(in_python)
    (folder / "backups").mkdir()
    for _ in range(2):
        run(*alone, "ZRB_STORE_URL=try.db", program, "run", "backup", "--", "bash", "backup.sh", folder=folder)
        run(*alone, python, "backup.py", folder=folder)
    assert len({*(folder / "backups").iterdir()}) == 2


def test_metadata_is_what_a_package_index_accepts(wheel: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *wheel.parent.iterdir(), folder=wheel.parent)


def test_the_core_needs_few_packages(metadata: Message) -> None:
    always = {need.split(">")[0] for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need}
    assert always == {"sqlalchemy", "alembic", "click", "msgspec", "jinja2", "psutil"}
