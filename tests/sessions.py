"""Sessions for tests to look at."""

from __future__ import annotations

import contextlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from zrb_store import Store
from zrb_store.reading import stories
from zrb_store.reading.lazy import settled

SCHEMAS = Path(__file__).parent.parent / "docs" / "schema"


class Broken(Exception):
    """What a task of these sessions fails with."""


def etl(store: Store, name: str, *, broken: bool, project: str | None = "/srv/shop") -> None:
    """A session of three tasks: extract, load (whose first attempt always fails), and report.

    Args:
        store: Where.
        name: Name of the session.
        broken: Whether every attempt of load fails, so that report never starts.
        project: Folder of its project.
    """
    inbox = store.session("inbox").xcom["files"]
    session = store.session(name)
    run = session.run(
        task="report",
        path=["etl", "report"],
        inputs={"day": "2026-11-24"},
        project=project,
        origin="cli",
        zrb_version="3",
    )
    with contextlib.suppress(Broken), run:
        run.note_tasks({"extract": "waiting", "load": "waiting", "report": "waiting", "notify": "skipped"})
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
    """A session that is used for its queue only."""
    store.session("inbox").xcom["files"].extend(files)


def logged(store: Store, name: str) -> dict[str, Any]:
    """What `log --format json` prints of a session."""
    with stories.log(store, name) as told:
        tree: dict[str, Any] = settled(told)
        return tree


def check(shape: str, thing: Any) -> Any:
    """The thing, if it is of the shape that docs/schema/SHAPE.json describes."""
    _validator(shape).validate(thing)
    return thing


def parse(shape: str, text: str) -> Any:
    """As `check`, of JSON text."""
    return check(shape, json.loads(text))


def parse_lines(shape: str, text: str) -> list[Any]:
    """As `parse`, line by line."""
    return [parse(shape, line) for line in text.splitlines()]


@cache
def _validator(shape: str) -> Draft202012Validator:
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    registry: Registry[Any] = Registry().with_resources(
        [(name, Resource.from_contents(schema)) for name, schema in schemas.items()]
    )
    return Draft202012Validator(schemas[f"{shape}.json"], registry=registry)
