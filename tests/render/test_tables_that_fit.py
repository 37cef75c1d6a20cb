"""Tables on terminals of 50, 80, 120 and 200 columns."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render.screens import make
from tests.render.screens.store import COMMANDS, LONG, NAMES, fill
from tests.support.terminals import WIDTHS, drawn, screen_of
from zrb_store import cli, open_store
from zrb_store.cli.list import _COLUMNS as LIST_COLUMNS
from zrb_store.render.document import Block, Column, Fields, Table, display_width, fit, headings, laid_out, wrap

_LEAVING = ["PROJECT", "OWNER", "TASK", "TASKS", "TOOK", "STARTED"]


@pytest.fixture(scope="module")
def filled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screens")
    with open_store(folder / "store.db") as store:
        fill(store)
    return folder


@pytest.fixture
def folder(filled_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the store of `tests.render.screens`, which ZRB_STORE_URL names."""
    monkeypatch.setenv("ZRB_STORE_URL", str(filled_folder / "store.db"))
    return filled_folder


class Terminal(io.StringIO):
    """A terminal that keeps what it gets."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def mostly_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands run in this process, but on terminals of 80 columns, which are real."""

    def screen(args: Sequence[str], columns: int) -> list[str]:
        if columns == 80:
            return screen_of(args, columns)
        shown = Terminal()
        with monkeypatch.context() as patches:
            patches.setattr(sys, "stdout", shown)
            for name, text in {"COLUMNS": str(columns), "TERM": "xterm-256color", "TZ": "UTC"}.items():
                patches.setenv(name, text)
            time.tzset()
            assert cli.run(args) in (0, 1)
        time.tzset()
        return drawn(shown.getvalue().replace("\n", "\r\n"), columns)

    monkeypatch.setattr(make, "screen_of", screen)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("mostly_here")
@pytest.mark.slow
def test_the_screen_is_the_one_that_was_read(folder: Path, name: str) -> None:
    """`python -m tests.render.screens.make` writes the files, which a person reads before they are committed."""
    assert make.screens(name) == (make.FOLDER / f"{name}.txt").read_text().split("\n")


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.slow
def test_names_are_whole_and_columns_leave_in_their_order(folder: Path, columns: int) -> None:
    screen = screen_of(["list"], columns)
    for name in NAMES:
        if len(name) <= columns:
            assert sum(line.split()[0] == name for line in screen[1:]) == 1
    if columns < len(LONG):
        begun = next(place for place, line in enumerate(screen) if LONG.startswith(line) and line)
        assert "".join(line for line in screen[begun : begun + 3] if not line.startswith(" ")) == LONG
    shown = screen[0].split()
    gone = _LEAVING[: len(_LEAVING) + 3 - len(shown)]
    assert shown == [word for word in headings(Table(LIST_COLUMNS, [])) if word not in gone], "why sessions failed, too"
    for name in ("etl", "inbox"):
        line = next(line for line in screen if line.startswith(f"{name} "))
        ends = [match.start() for match in re.finditer(r"\S+", screen[0])]
        assert all(line[max(0, end - 12) : end + 12].strip() for end in ends), "no cell is blank"


@pytest.mark.parametrize(("name", "beside"), [("etl-2026-11-24", True), ("etl-2026-11-24T03:12:45+0100", False)])
def test_a_long_error_is_cut_before_the_times_leave(name: str, beside: bool) -> None:
    """And before a name that is longer than usual takes their place."""
    row = [name, "shop", "load", "interrupted", "11-24 03:12:45", "65 ms", "9/12", "-", "cannot parse " * 20]
    lines = ["".join(text for text, _ in line) for line in laid_out([Table(LIST_COLUMNS, [row])], fits=True)]
    assert lines[0].split() == ["NAME", "STATUS", "STARTED", "TOOK", "TASKS", "ERROR"]
    assert lines[1].startswith(f"{name}  interrupted" if beside else name)
    assert "11-24 03:12:45  65 ms   9/12  cannot parse" in lines[-1]
    assert all(len(line) <= 80 for line in lines)


_texts = st.text(st.sampled_from("ab-/ 日本e\u0301\u3099\x1b\u200b"), max_size=40) | st.sampled_from(["", "x" * 70])
_columns = st.builds(
    Column,
    st.sampled_from(["name", "status", "pushed by", "would delete"]),
    cut=st.booleans(),
    fold=st.booleans(),
    words=st.booleans(),
    right=st.booleans(),
    leaves=st.integers(0, 3),
) | st.builds(Column, st.just("took"), leaves=st.just(4), late=st.just(True))


@st.composite
def _tables(draw: st.DrawFn) -> Table:
    columns = [
        Column(draw(st.sampled_from(["name", "session"]))),
        Column("status", status=True),
        *draw(st.lists(_columns, max_size=5)),
    ]
    name, status = _texts.map(lambda text: text.replace(" ", "_")), st.sampled_from(["completed", "open, pinned"])
    cells = [draw(name), draw(status)]
    rows = [[*cells, *(draw(_texts) for _ in columns[2:])] for _ in range(draw(st.integers(1, 4)))]
    return Table(columns, rows)


@pytest.mark.slow
@given(_tables(), st.sampled_from(WIDTHS))
def test_any_table_fits_any_width(table: Table, width: int) -> None:
    rows = [headings(table), *table.rows]
    found = fit(table.columns, rows, width, like=None, fill=False)
    left = [table.columns[place].leaves for place in range(len(table.columns)) if place not in found.places]
    stayed = [table.columns[place].leaves for place in found.places if table.columns[place].leaves]
    assert all(left)
    assert not stayed or not left or max(left) <= min(stayed), "the columns leave in their order"
    for place, room in zip(found.places, found.widths, strict=True):
        title, column = table.columns[place].title, table.columns[place]
        if not column.words:
            assert room >= min(len(title), 8), "no heading is blank"
    rigid = (column for column in table.columns[2:-1] if not (column.cut or column.fold or column.leaves))
    if not any(column.words for column in table.columns) and not any(rigid):
        # 50 characters have no room for six columns of which none leaves: then each is as narrow as it may become.
        fits = sum(found.widths) + 2 * (len(found.widths) - 1) <= width
        assert fits or all(room <= 8 for place, room in zip(found.places, found.widths, strict=True) if place > 1)


@given(st.text(st.sampled_from("ab -/日e\u0301"), max_size=60), st.integers(2, 30))
def test_wrapped_lines_are_no_wider_and_lose_nothing(text: str, width: int) -> None:
    lines = list(wrap(text, width))
    assert all(display_width(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_measured_is_what_a_terminal_draws(width: int) -> None:
    text = "日本語 cafe\u0301 \u1112\u1161\u11ab 👍 ก็ " * 30
    lines = list(wrap(text, width))
    assert drawn("\r\n".join(lines), width) == [line for each in lines for line in drawn(each, width)]
    assert len(drawn("\r\n".join(lines), width)) == len(lines), "the terminal wraps none of them again"


def shown(block: Block) -> list[str]:
    """Return the lines of a terminal that is as wide as COLUMNS says."""
    return ["".join(text for text, _ in line) for line in laid_out([block], fits=True)]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_name_beside_a_label_stays_on_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    name = "n" * width
    lines = shown(Fields([("Session", name), ("Resume:", f"zrb xcom resume {name}")]))
    assert lines.count(name) == 2
    assert max(map(len, lines)) == width


def test_a_later_row_may_be_longer_than_all_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long table is drawn before all of it is known."""
    monkeypatch.setenv("COLUMNS", "50")

    def rows() -> Iterator[list[str]]:
        yield from ([f"etl-{number}", "open", "-"] for number in range(1500))
        yield ["nightly-warehouse-refresh-eu-west-1-2026-11-24", "completed, pinned", "x"]

    lines = shown(Table((Column("name"), Column("status"), Column("note")), rows()))
    assert lines[0].split() == ["NAME", "STATUS", "NOTE"]
    assert "nightly-warehouse-refresh-eu-west-1-2026-11-24" in lines
    assert lines[-1].split() == ["completed,", "pinned", "x"]
    assert max(map(len, lines)) <= 50
