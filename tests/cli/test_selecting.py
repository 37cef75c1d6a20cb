"""Sessions chosen by name, project and failure: `list --match --project --failed`, and `rm --match`."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.pruning import names, run
from tests.support.rows import allow_damage
from tests.support.sessions import parse
from zrb_store import Store, ZrbStoreError, open_store
from zrb_store.db.core import ready
from zrb_store.db.dialect import matches
from zrb_store.db.tables import run as runs
from zrb_store.db.tables import session
from zrb_store.inspect.list import summaries
from zrb_store.names import NamePattern
from zrb_store.operations import sessions
from zrb_store.operations.sessions import pin
from zrb_store.testing import expire_lease

pytestmark = pytest.mark.long_on_postgresql

NAMES = ["etl-1", "etl-2", "etl_3", "ETL-4", "etl-10", "etl", "a.b", "a+b", "aXb", "x:y", "etl-1-retry"]


@pytest.fixture
def named(store: Store) -> Store:
    """A store with sessions of these names, the newest first."""
    for name in reversed(NAMES):
        store.session(name).xcom["q"].push(name)
    return store


# -- list --match


PATTERNS = [
    ("etl-*", ["etl-1", "etl-2", "etl-10", "etl-1-retry"]),
    ("etl-?", ["etl-1", "etl-2"]),
    ("etl_*", ["etl_3"]),
    ("etl[-_]?", ["etl-1", "etl-2", "etl_3"]),
    ("etl-[!1]", ["etl-2"]),
    ("[Ee]*[0-4]", ["etl-1", "etl-2", "etl_3", "ETL-4", "etl-10"]),
    ("*", NAMES),
    ("**", NAMES),
    ("*-1*", ["etl-1", "etl-10", "etl-1-retry"]),
    ("etl", ["etl"]),
    ("a.b", ["a.b"]),
    ("a?b", ["a.b", "a+b", "aXb"]),
    ("a%b", []),
    ("%", []),
    ("_______", []),
    ("etl-\\1", []),
    ("etl[", []),
    ("[]]*", []),
    ("é*", []),
    ("*:*", ["x:y"]),
    ("", []),
]


def test_a_pattern_is_one_of_a_shell(command: Commands, named: Store) -> None:
    for pattern, matched in PATTERNS:
        shown = command.ok("list", "--match", pattern, "--format", "value").split()
        assert (pattern, shown) == (pattern, matched)
        assert [name for name in NAMES if NamePattern(pattern).matches(name)] == matched


def test_a_limit_counts_only_what_matches(command: Commands, named: Store) -> None:
    for pattern in ("etl-*", "etl-[0-9a-z]*"):
        assert command.ok("list", "--match", pattern, "--limit", "2", "--format", "value").split() == ["etl-1", "etl-2"]
        text = command.ok("list", "--match", pattern, "--limit", "2")
        assert "There are older ones" in text
        assert "There are older ones" not in command.ok("list", "--match", pattern, "--limit", "4")
    assert command.ok("list", "--match", "nothing*") == "no sessions\n"


def test_sqlite_reads_only_the_names_that_begin_so(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        condition = matches("sqlite", session.c.name, NamePattern("etl-*"))
        sql, bind, _ = ready(sa.select(session.c.name).where(condition), "sqlite")
        with store.database.snapshot() as transaction:
            (plan,) = transaction.driver.execute(f"EXPLAIN QUERY PLAN {sql}", bind({})).fetchall()
    assert "USING COVERING INDEX" in plan[3]
    assert "(name>? AND name<?)" in plan[3]


# -- list --project


def test_projects_are_named_by_their_folder_or_a_path(
    command: Commands, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, other = tmp_path / "work" / "shop", tmp_path / "old" / "shop"
    for folder in (shop / "sub", other):
        folder.mkdir(parents=True)
    (shop / "zrb_init.py").touch()
    (tmp_path / "link").symlink_to(shop)
    for name, project in {
        "mine": shop,
        "theirs": other,
        "big": tmp_path / "SHOP",
        "pre": "/x/ashop",
        "s": "shop",
    }.items():
        run(store, name, project=str(project))
    run(store, "none")

    def listed(*options: str) -> set[str]:
        return set(command.ok("list", "--format", "value", *options).split())

    monkeypatch.chdir(shop / "sub")
    assert listed("--project") == listed("--project", "--limit", "5") == listed("--project", "") == {"mine"}
    assert listed("--project", "shop") == {"mine", "theirs", "s"}
    assert listed("--project", "..") == listed("--project", str(shop)) == listed("--project", f"{shop}/") == {"mine"}
    assert listed("--project", str(tmp_path / "link")) == listed("--project", "./") == {"mine"}
    assert listed("--project", "../../../old/shop") == {"theirs"}
    assert listed("--project", "no") == listed("--project", "/nowhere") == listed("--project", "%") == set()
    monkeypatch.chdir(other)
    assert listed("--project", "--match", "*") == {"theirs"}


@pytest.mark.long_on_postgresql(False)
def test_a_project_without_sessions_is_named(command: Commands, store: Store) -> None:
    run(store, "none")
    assert command.ok("list", "--project", "/nope") == "no sessions of project /nope; no session has a project\n"
    run(store, "mine", project="/work/shop")
    run(store, "theirs", project="/old/shop")
    nothing = "no sessions of project {}; there are sessions of /old/shop, /work/shop\n"
    for given in ("/nope", "nope"):
        assert command.ok("list", "--project", given) == nothing.format(given)
    assert command.ok("list", "--project", "shop", "--match", "x*") == "no sessions\n"


def test_a_project_that_was_stored_by_a_link_is_found(command: Commands, store: Store, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run(store, "by-link", project=str(tmp_path / "link"))
    assert command.ok("list", "--project", str(tmp_path / "link"), "--format", "value") == "by-link\n"


# -- list --failed


def test_failed_is_what_did_not_complete_and_is_not_run(command: Commands, store: Store) -> None:
    for status in ("completed", "failed", "interrupted"):
        run(store, status, status=status)
    store.session("open").xcom["q"].push(1)
    dead = store.session("stale").run().start()
    with store.session("running").run():
        expire_lease(store.session("stale"))
        shown = command.ok("list", "--failed", "--format", "value").split()
        assert shown == ["stale", "interrupted", "failed"]
        assert command.ok("list", "--failed", "--match", "f*", "--format", "value").split() == ["failed"]
        assert command.ok("list", "--failed", "--limit", "1", "--format", "value").split() == ["stale"]
        assert "stale" in command.ok("show", "@last-failed")
    assert dead.number == 1
    result = command("list", "--failed", "--status", "open")
    assert (result.code, result.out) == (2, "")
    assert "--failed and --status exclude each other" in result.err


# -- list --format json


def test_json_has_what_the_table_has(command: Commands, filled: Store) -> None:
    pin(filled.database, "etl-24")
    with filled.session("live").run(task="t") as live, live.attempt("t"):
        filled.session("inbox").xcom["files"].pop()
        listed = {one["name"]: one for one in parse("list", command.ok("list", "--format", "json"))}
        assert listed["live"]["owner"]["pid"] == os.getpid()
        assert listed["live"]["seconds"] > 0
        assert listed["inbox"]["held_by"] == [{"attempt": "live/t#1", "status": "alive"}]
    assert (listed["inbox"]["started_at"], listed["inbox"]["seconds"]) == (None, None)
    done = listed["etl-25"]
    assert (done["owner"], done["held_by"], done["pinned"], listed["etl-24"]["pinned"]) == (None, [], False, True)
    rows = {line.split()[0]: line for line in command.ok("list").splitlines()}
    for name in ("etl-24", "etl-25"):
        counts = listed[name]["task_counts"]
        assert f" {counts['done']}/{counts['total']} " in rows[name]
        assert listed[name]["started_at"][:19].replace("T", " ") in rows[name]
        assert 0 < listed[name]["seconds"] < 60
    expire_lease(filled.session("live"))


# -- rm --match


def test_rm_deletes_what_matches(command: Commands, named: Store) -> None:
    foretold = command.ok("rm", "--match", "etl-*", "--dry-run")
    assert foretold.split() == ["etl-1", "etl-1-retry", "etl-10", "etl-2"]
    assert names(named) == set(NAMES)
    assert command.ok("rm", "--match", "etl-*") == foretold
    assert names(named) == set(NAMES) - set(foretold.split())
    gone = command.ok("rm", "--match", "[ax][!Xb]b")
    assert gone.split() == ["a+b", "a.b"]
    for more in ([], ["--dry-run"]):
        result = command("rm", "--match", "etl-*", *more)
        assert (result.code, result.out) == (3, "")
        assert "no session matches 'etl-*'" in result.err
    with named.database.snapshot() as transaction:
        recorded = transaction.driver.execute(
            "SELECT session FROM zrb_change WHERE action = 'rm' ORDER BY id"
        ).fetchall()
    assert [row[0] for row in recorded] == foretold.split() + gone.split()


def test_rm_deletes_what_matches_although_nobody_reads_the_names(
    command: Commands, named: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise click.exceptions.Exit  # as for a closed pipe

    monkeypatch.setattr(sessions, "_AT_ONCE", 1)
    monkeypatch.setattr("zrb_store.cli.sessions.echo", stop)
    command.ok("rm", "--match", "etl-*")
    assert names(named) == {name for name in NAMES if not name.startswith("etl-")}


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_rm_refuses_all_if_one_is_pinned_or_run(command: Commands, named: Store, more: list[str]) -> None:
    pin(named.database, "etl-2")
    for args in (["--match", "etl-*"], ["etl-1", "etl-2"]):
        result = command("rm", *args, *more)
        assert (result.code, result.out) == (1, "")
        assert "session etl-2 is pinned: `zrb-store unpin etl-2` lets it be deleted" in result.err
    command.ok("unpin", "etl-2")
    with named.session("etl-10").run():
        for args in (["--match", "etl-*"], ["etl-1", "etl-10"]):
            result = command("rm", *args, *more)
            assert (result.code, result.out) == (75, "")
            assert f"session etl-10 is being run by pid {os.getpid()}" in result.err
    assert names(named) == set(NAMES)
    dead = named.session("etl-10").run(again=True).start()
    expire_lease(named.session("etl-10"))
    assert len(command.ok("rm", "--match", "etl-*", *more).split()) == 4, "a stale session is not run"
    assert dead.number == 2


def test_a_dry_run_takes_names_too(command: Commands, named: Store) -> None:
    assert command.ok("rm", "a.b", "etl", "a.b", "--dry-run") == "a.b\netl\n"
    assert command("rm", "a.b", "nothing", "--dry-run").code == 3
    assert names(named) == set(NAMES)


def test_rm_wants_names_or_a_pattern(command: Commands, named: Store) -> None:
    for args in ([], ["etl", "--match", "x"]):
        result = command("rm", *args)
        assert result.code == 2
        assert "name the sessions, or give --match PATTERN, but not both" in result.err


def test_what_is_pinned_meanwhile_stays(command: Commands, named: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_AT_ONCE", 2)
    removing = sessions.remove_matching(named.database, NamePattern("etl-*"))
    assert next(removing) == "etl-1"
    pin(named.database, "etl-10")
    sessions.remove_sessions(named.database, "etl-2")
    with pytest.raises(ZrbStoreError, match="session etl-10 is pinned"):
        list(removing)
    assert names(named) == set(NAMES) - {"etl-1", "etl-1-retry", "etl-2"}


def test_a_damaged_session_can_be_deleted_by_a_pattern(command: Commands, named: Store) -> None:
    allow_damage(named)
    named.database.execute(sa.update(session).where(session.c.name == "etl-2").values(created_at=-5))
    command.ok("rm", "--match", "etl-?")
    assert names(named) == set(NAMES) - {"etl-1", "etl-2"}


def test_conditions_of_several_options_add_up(command: Commands, filled: Store) -> None:
    options = ["--failed", "--project", "shop", "--match", "etl-*", "--task", "report", "--since", "1h"]
    assert command.ok("list", *options, "--format", "value") == "etl-24\n"
    assert command.ok("list", *options, "--project", "shopping", "--format", "value") == ""


# -- the order of list, and --since


def times_ago(store: Store, name: str, minutes: int) -> None:
    """Let a session and its runs be older than they are."""
    for column in (session.c.created_at, session.c.ended_at, runs.c.started_at, runs.c.ended_at):
        of_it = sa.select(session.c.id).where(session.c.name == name).scalar_subquery()
        at = sa.update(column.table).values({column.name: column - minutes * 60_000_000})
        store.database.execute(at.where((session.c.id if column.table is session else runs.c.session_id) == of_it))


@pytest.mark.promise(number=17)
def test_the_one_that_started_or_ended_last_is_first(command: Commands, store: Store) -> None:
    began = store.session("ends-last").run().start()
    store.session("only-queues").xcom["q"].push(1)
    for name in ("again", "failed-once"):
        store.session(name).run().start().end("failed")
    store.session("again").run().start()
    began.end("failed")
    times_ago(store, "ends-last", 100)  # its clock was set back: that changes no order
    order = ["ends-last", "again", "failed-once", "only-queues"]
    assert command.ok("list", "--format", "value").split() == order
    assert command.ok("show", "@last-failed").split()[:2] == ["Session", "ends-last"]
    with summaries(store.database, before="again") as older:
        assert [each.session.name for each in older] == order[2:]


def test_since_goes_by_the_last_start_or_end(command: Commands, store: Store) -> None:
    for name, minutes in {"old": 100, "new": 80, "resumed": 100}.items():
        store.session(name).run().start().end("failed")
        times_ago(store, name, minutes)
    store.session("resumed").run().start()
    store.session("pushed").xcom["q"].push(1)
    assert command.ok("list", "--since", "1.5h", "--format", "value").split() == ["pushed", "resumed", "new"]


def test_the_error_is_whole_in_a_pipe(command: Commands, filled: Store) -> None:
    header, line = command.ok("list", "--failed").splitlines()
    assert header.endswith("  ERROR")
    assert line.endswith("  load: Broken: no column 'price' in row 3")
    [listed] = parse("list", command.ok("list", "--failed", "--format", "json"))
    assert listed["reason"] == "load: Broken: no column 'price'\nin row 3"


def test_more_held_values_than_are_listed(command: Commands, store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.extend(["a", "b"])
    with store.session("s").run() as run, run.attempt("load"):
        assert [queue.pop(), queue.pop()] == ["a", "b"]
        assert "There are more: --limit 10, or --limit 0 for all." in command.ok("list", "--holds", "--limit", "1")
        assert "There are more" not in command.ok("list", "--holds", "--limit", "2")
