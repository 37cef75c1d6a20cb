"""TAB in real shells, which quote and replace words each in its own way."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli import shells
from tests.cli.shells import ODD
from zrb_store import open_store
from zrb_store.cli.completion import SHELLS, script

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a shell: the store that TAB reads, and this package."""
    path = tmp_path_factory.mktemp("store") / "store.db"
    with open_store(path) as store:
        for name in ("etl:2026-11-24", "etl:2026-11-25", "inbox", "box"):
            store.session(name).xcom["files"].push("a.csv")
        for queue in ODD:
            store.session("box").xcom[queue].push(1)
        with store.session("nightly").run() as run:
            run.task("load all", lambda: 1)
    return {"ZRB_STORE_URL": str(path), "PYTHONPATH": str(ROOT)}


# What is typed, and what the line is after TAB, as a shell reads it.
TYPED = {
    "zrb-store sho": "zrb-store show ",
    "zrb-store show etl:2026-11-24": "zrb-store show etl:2026-11-24 ",
    "zrb-store show et": "zrb-store show etl:2026-11-2",
    "zrb-store show @last-": "zrb-store show @last-failed ",
    "zrb-store show box my": "zrb-store show box 'my queue' ",
    "zrb-store show box 'my": "zrb-store show box 'my queue' ",
    "zrb-store show box my\\ q": "zrb-store show box 'my queue' ",
    "zrb-store show box 'it": f"zrb-store show box {shlex.quote(ODD[1])} ",
    'zrb-store show box "it': f"zrb-store show box {shlex.quote(ODD[1])} ",
    "zrb-store show box a:b": "zrb-store show box a:b=c@d ",
    "zrb-store show box \\#": "zrb-store show box '#hash' ",
    "zrb-store show box ü": "zrb-store show box 'ünï' ",
    "zrb-store trace inbox/f": "zrb-store trace inbox/files#1 ",
    "zrb-store list --status=sta": "zrb-store list --status=stale ",
    "zrb-store resume nightly --from=lo": "zrb-store resume nightly --from='load all' ",
    "zrb-store show nightly --at 'before:lo": "zrb-store show nightly --at 'before:load all#1' ",
    "zrb-store import set_": "zrb-store import set_up ",
    "zrb-store consume inbox files -- zrb-sto": "zrb-store consume inbox files -- zrb-store ",
    "zrb-store no-such-command x": "zrb-store no-such-command x",
}


def words(shell: str, line: str) -> list[str]:
    """Return the words of a line as a shell reads them. A last empty one tells that the line ends with a space."""
    if shell == "zsh":
        line = line.replace("\\!", "!")  # an interactive zsh removes the backslash, which keeps ! from the history
    command = [shell, "-c", f"printf '%s\\0' {line}"]
    found = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return found.stdout.decode().split("\0")[:-1] + [""] * line.endswith(" ")


@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes_the_line(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    with shells.shell(name, tmp_path, script(name, "zrb-store"), environment) as shell:
        lines = {typed: shell.line_after(f"{typed}\t") for typed in TYPED}
    expected = {typed: words("bash", line) for typed, line in TYPED.items()}
    assert {typed: words(name, line) for typed, line in lines.items()} == expected


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_every_name_that_a_shell_can_hold_is_offered(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    with shells.shell(name, tmp_path, script(name, "zrb-store"), environment) as shell:
        line = shell.line_after("zrb-store show box \x0f")
    odd = [queue for queue in ODD if name == "zsh" or queue.isprintable()]
    assert sorted(words(name, line)) == sorted(["zrb-store", "show", "box", "files", *odd, ""])


def test_fish_offers_what_it_can_hold_and_says_what_it_means(tmp_path: Path, environment: dict[str, str]) -> None:
    with shells.shell("fish", tmp_path, script("fish", "zrb-store"), environment) as shell:
        shell.line_after("complete -C 'zrb-store show box ' >names; complete -C 'zrb-store db ' >described\r")
        assert sorted((tmp_path / "names").read_text().splitlines()) == sorted(
            ["files", *(name for name in ODD if "\n" not in name and "\t" not in name)]
        )
        assert "status\tShow " in (tmp_path / "described").read_text()


@pytest.mark.parametrize("name", SHELLS)
def test_nothing_is_said_where_nothing_can_be_read(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    nowhere = {**environment, "ZRB_STORE_URL": str(tmp_path / "no" / "store.db")}
    with shells.shell(name, tmp_path, script(name, "zrb-store"), nowhere) as shell:
        shell.output = b""
        assert shell.line_after("zrb-store trace x\t") == "zrb-store trace x"
        assert b"rror" not in shell.output
        assert b"no store" not in shell.output
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["bash", *(pytest.param(one, marks=pytest.mark.long) for one in ("zsh", "fish"))])
def test_under_zrb_its_own_completion_goes_on(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    both = {**environment, "ZRB_INIT_MODULES": "zrb_store.plugin"}
    lines = {
        "zrb xco": "zrb xcom ",  # by zrb
        "zrb xcom sho": "zrb xcom show ",
        "zrb xcom show inb": "zrb xcom show inbox ",
        "zrb xcom mark nightly lo": "zrb xcom mark nightly 'load all' ",
    }
    load = {"bash": 'eval "$(zrb {} {})"', "zsh": "source <(zrb {} {})", "fish": "zrb {} {} | source"}[name]
    scripts = [load.format("shell autocomplete", name), load.format("xcom completion", name)]
    with shells.shell(name, tmp_path, "\n".join(scripts), both) as shell:
        found = {typed: words(name, shell.line_after(f"{typed}\t")) for typed in lines}
    assert found == {typed: words("bash", line) for typed, line in lines.items()}
