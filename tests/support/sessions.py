"""Sessions for tests that read."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.support.commands import Commands
from zrb_store import Store, open_store
from zrb_store.db.engine import Database
from zrb_store.db.tables import change
from zrb_store.inspect.log import log
from zrb_store.inspect.show import open_session
from zrb_store.process import identity
from zrb_store.records import AttemptRecord, Lazy, RunRecord
from zrb_store.run import RunSpec

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"

HEADER = [
    *("name", "project", "status", "task", "path", "inputs", "created_at", "ended_at", "parent", "forked_from"),
    "pinned",
]
"""The fields with which the JSON of a session begins."""


class Broken(Exception):
    """The error with which a task of these sessions fails."""


def etl(store: Store, name: str, *, broken: bool, project: str | None = "/srv/shop") -> None:
    """Run a session of three tasks: extract, load (whose first attempt always fails), and report.

    Args:
        store: The store.
        name: The name of the session.
        broken: Whether every attempt of load fails, so that report never starts.
        project: The folder of its project.
    """
    inbox = store.session("inbox").xcom["files"]
    session = store.session(name)
    spec = RunSpec(
        task="report",
        path=["etl", "report"],
        inputs={"day": "2026-11-24"},
        project=project,
        origin="cli",
        zrb_version="3",
    )
    run = session.prepare(spec)
    with contextlib.suppress(Broken), run:
        run.note_tasks({"extract": "not started", "load": "not started", "report": "not started", "notify": "skipped"})
        if run.completed("extract") is None:
            with run.attempt("extract") as attempt:
                attempt.xcom["rows"].extend([1, {"id": 2}])
                attempt.complete({"rows": 2})
        for fails in (True, broken):
            with contextlib.suppress(Broken), run.attempt("load") as attempt:
                attempt.xcom["rows"].pop()
                attempt.xcom["loaded"].push((1, 2))
                inbox.pop()
                if fails:
                    raise Broken("no column 'price'\nin row 3")
                attempt.complete(["done", 3.5])
        if broken:
            raise Broken
        with run.attempt("report") as attempt:
            attempt.complete("fine")


def inbox(store: Store, *files: str) -> None:
    """Push files to a session that is used only for its queue."""
    store.session("inbox").xcom["files"].extend(files)


def show(
    database: Database, name: str, queue: str | None = None, *, live: bool = False, at: str | None = None
) -> dict[str, Any]:
    """Return what `show --format json` prints about a session, with `--live` and `--at` as they are given."""
    with open_session(database, name, queue, only="live" if live else None, at=at) as document:
        tree: dict[str, Any] = with_lists_read(document.to_json())
        return tree


def logged(store: Store, name: str, task: str | None = None) -> dict[str, Any]:
    """Return what `log --format json` prints about a session, or about one of its tasks or steps."""
    with log(store.database, name, task) as document:
        tree: dict[str, Any] = with_lists_read(document.to_json())
        return tree


def with_lists_read(tree: Any) -> Any:
    """Return plain data with ordinary lists in place of lazy lists and iterators."""
    if type(tree) is dict:
        return {key: with_lists_read(item) for key, item in tree.items()}
    if isinstance(tree, (list, Lazy, Iterator)):
        return [with_lists_read(item) for item in tree]
    return tree


T = TypeVar("T")


def _record(cls: type[T], **known: Any) -> T:
    """Return a record whose other fields are None."""
    names = (field.name for field in fields(cls))  # type: ignore[arg-type]
    return cls(**{**dict.fromkeys(names), **known})


_ATTEMPT = _record(
    AttemptRecord,
    id=1,
    session_id=1,
    session="s",
    run_id=1,
    run=1,
    fence=1,
    task="t",
    number=1,
    kind="task",
    status="completed",
    restorable=True,
    once=False,
    started_at=1,
    started_tick=1,
    ended_at=1,
    ended_tick=1,
)


def attempt_record(**known: Any) -> AttemptRecord:
    """Return the record of an attempt that is in no store, with these fields."""
    return replace(_ATTEMPT, **known)


def run_record(number: int) -> RunRecord:
    """Return the record of a run that is in no store."""
    of_process = {"origin": "cli", "host": "h", "pid": 1, "command": []}
    times = {"started_at": 1, "started_tick": 1, "lease_expires_at": 1}
    return _record(RunRecord, id=number, session_id=1, number=number, **of_process, **times)


def check(shape: str, thing: Any) -> Any:
    """Return the object, if it matches the schema docs/schema/SHAPE.json."""
    _validator(shape).validate(thing)
    return thing


def parse(shape: str, text: str) -> Any:
    """Parse a JSON text, and return it if it matches the schema."""
    return check(shape, json.loads(text))


def parse_lines(shape: str, text: str) -> list[Any]:
    """Parse each line of a text like `parse`."""
    return [parse(shape, line) for line in text.splitlines()]


@cache
def schemas() -> dict[str, Any]:
    """Return the schemas by the names of their files; test_documentation.py checks that they are valid ones."""
    return {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}


@cache
def _validator(shape: str) -> Draft202012Validator:
    registry: Registry[Any] = Registry().with_resources(
        [(name, Resource.from_contents(schema)) for name, schema in schemas().items()]
    )
    return Draft202012Validator(schemas()[f"{shape}.json"], registry=registry)


def changes(store: Store) -> list[tuple[str, str | None, str | None]]:
    """Return the recorded changes, oldest first, after checking that this process made them."""
    columns = (change.c.action, change.c.session, change.c.detail, change.c.user, change.c.host, change.c.pid)
    rows = store.database.execute(sa.select(*columns).order_by(change.c.id))
    me = identity()
    assert {row[3:] for row in rows} <= {(me.user, me.host, me.pid)}
    return [(row[0], row[1], row[2]) for row in rows]


def events(command: Commands, value: str) -> list[tuple[str, str | None, str | None]]:
    """Return each event of a value's history: what happened, by whom, and which other value it refers to."""
    document = parse("trace", command.ok("trace", value, "--format", "json"))
    assert parse_lines("event", command.ok("trace", value, "--format", "jsonl")) == document["events"]
    times = [one["at"] for one in document["events"]]
    assert times == sorted(times)
    return [(one["event"], one["by"], one["value"]) for one in document["events"]]


def fill_folder(folder: Path, template: Path) -> None:
    """Make a folder with a SQLite store in it that has long values, a session that failed, and one that completed."""
    folder.mkdir()
    path = folder / "store.db"
    path.write_bytes(template.read_bytes())
    with open_store(path) as store:
        inbox(store, "a.csv", "b.csv", "long name " * 30)
        etl(store, "etl-24", broken=True)
        etl(store, "etl-25", broken=False)
        store.session("inbox").xcom["files"].push({"key": "long value " * 30})
