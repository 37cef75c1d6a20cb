"""Which tests run, with which parameters, and in which order.

              make quick   make test                            TEST_ALL=1, as CI       make matrix
SQLite        all          all                                  all                     all
PostgreSQL    none         the first parameter of a test that   all                     as make test
                           SQLite runs with all of them
zrb           newest       newest: all                          newest, oldest: all     each that is listed: all
                           oldest: those marked `oldest`        between: all, with one
                                                                parameter
long          no           no                                   yes                     yes
slow          no           yes                                  yes                     yes

`make test-pooled` runs one parameter of each test that reaches PostgreSQL by `postgres_url`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Hashable, Iterable
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.programs import not_tested
from zrb_store import wings

# The oldest supported release, the first tested one that has `exec_action`, and the newest of each later line.
RELEASES = ["1.21.43", "2.45.0", "2.69.0", "3.0.0", "3.14.0", "3.28.0"]

# The names do not begin with ZRB_, since tests/conftest.py removes such variables.
CHOSEN = os.environ.get("TEST_ZRB_RELEASES", "")

ALL = bool(os.environ.get("TEST_ALL"))
"""Whether everything runs, as in CI: each release of zrb, and the tests that are marked `long`."""

MISSING = {name for name in wings.NAMES if not (Path(wings.__file__).parent / name / "wing.py").exists()}
"""The wings that are taken off (`tests/package/test_wings.py`). No test runs that is marked with one (`needs`)."""

DATABASES = ["sqlite", "postgresql"]
POSTGRES_FIXTURES = {"postgres_server", "postgres_url", "postgres_admin", "postgres_template", "new_postgres"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose releases of zrb. Mark the tests of `make quick`, and those for PgBouncer (`make test-pooled`)."""
    others = left_out(items) | {item for item in items if wings_of(item) & MISSING}
    if not ALL:
        others |= repeated(items)
    if not (ALL or CHOSEN):
        others |= set(filter(is_long, items))
    config.hook.pytest_deselected(items=[*others])
    items[:] = [item for item in items if item not in others]
    chosen: set[tuple[str, Path, type | None, str]] = set()
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if is_quick(item) and ("zrb" not in item.fixturenames or is_first("quick", item, chosen)):
            item.add_marker("quick")
        if is_pooled(item) and is_first("pooled", item, chosen):
            item.add_marker("pooled")
    # Slow and long scopes come first, so that no worker is left with one at the end.
    scopes = {item: scope_of(item.nodeid) for item in items}
    slow = {scopes[item] for item in items if item.get_closest_marker("slow")}
    length: Counter[str] = Counter()
    for item in items:
        length[scopes[item]] += usual_length(item)
    items.sort(key=lambda item: (scopes[item] not in slow, -length[scopes[item]], scopes[item]))


def wings_of(item: pytest.Item) -> set[str]:
    """Return the wings that a test outside of their folders needs."""
    return {name for mark in item.iter_markers("needs") for name in mark.args}


def parameters_of(item: pytest.Function) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def is_first(mark: str, item: pytest.Function, chosen: set[tuple[str, Path, type | None, str]]) -> bool:
    """Whether no other parameter of the test is chosen yet: a pooler, or zrb, sees little difference between them."""
    function = mark, item.path, item.cls, item.originalname
    is_first = function not in chosen
    chosen.add(function)
    return is_first


def usual_length(item: pytest.Item) -> int:
    """Return how long a test of this kind takes on average, compared with a plain one."""
    if item.get_closest_marker("slow"):
        return 20
    if not {"zrb", "new_page"}.isdisjoint(getattr(item, "fixturenames", ())):
        return 8
    return 3 if "postgresql" in item.nodeid else 1


def is_long(item: pytest.Item) -> bool:
    """Whether only CI runs the test, since a shorter one shows the same, or the same one on SQLite."""
    mark = item.get_closest_marker("long_on_postgresql")
    if mark is not None and mark.args != (False,):
        return isinstance(item, pytest.Function) and "postgresql" in parameters_of(item).values()
    return item.get_closest_marker("long") is not None


def repeated(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return the tests on PostgreSQL but the first of each function, if SQLite runs it with all parameters."""
    of: dict[Hashable, dict[str, list[pytest.Item]]] = {}
    for item in items:
        for database in DATABASES:
            if isinstance(item, pytest.Function) and database in parameters_of(item).values():
                of.setdefault((item.path, item.cls, item.originalname), {}).setdefault(database, []).append(item)
    return {item for each in of.values() if "sqlite" in each for item in each.get("postgresql", [])[1:]}


def scope_of(nodeid: str) -> str:
    """Return what a worker gets whole: a file, whose fixtures are made once, or all that needs a browser or one zrb."""
    file, _, test = nodeid.partition("::")
    is_of_zrb = file.startswith(("tests/zrb/", "tests/agents/zrb/")) or file.endswith("/test_under_zrb.py")
    old = [release for release in releases()[:-1] if is_of_zrb and release in test]
    shared = [folder for folder in ("tests/page/browser/", "tests/agents/zrb/") if file.startswith(folder)]
    return (old or shared or [file])[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Let workers take what `scope_of` says, in the order in which it was collected."""
    config.option.loadscopereorder = False
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = scope_of
    return scheduling


def is_quick(item: pytest.Function) -> bool:
    """Whether the test is about SQLite or one release of zrb, is not `slow`, and needs neither browser nor shell."""
    if item.get_closest_marker("slow") or "postgres" in item.path.name or "browser" in item.path.parts:
        return False
    if {"shell", *POSTGRES_FIXTURES}.intersection(item.fixturenames):
        return False
    parameters = parameters_of(item)
    databases = [value.split("+") for value in parameters.values() if isinstance(value, str)]
    if any("postgresql" in names and {*names} <= {*DATABASES} for names in databases):
        return False
    return parameters.get("release") in (None, RELEASES[-1])


def is_pooled(item: pytest.Function) -> bool:
    """Whether the test reaches PostgreSQL by `postgres_url`, and starts no PgBouncer itself.

    Commands in this process use statements that test_pgbouncer.py repeats and operations that others test.
    """
    if item.path.name == "test_pgbouncer.py" or item.get_closest_marker("unpooled") or "command" in item.fixturenames:
        return False
    if {"postgres_url", "new_postgres"}.intersection(item.fixturenames):
        return True
    parameters = parameters_of(item)
    return "postgresql" in (parameters.get(name) for name in ("location", "new_location", "kind"))


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked `on_sqlite` on SQLite alone."""
    if metafunc.definition.get_closest_marker("on_sqlite") and "location" in metafunc.fixturenames:
        metafunc.definition.add_marker(pytest.mark.parametrize("location", ["sqlite"], indirect=True))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say in one line, after all else, which programs were missing."""
    yield
    reports = terminalreporter.getreports("skipped")
    if line := not_tested(report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)):
        terminalreporter.write_line(line)


def left_out(tests: Iterable[Any]) -> set[Any]:
    """Return the tests that do not run without a list of releases.

    On the newest release all of them run, on the oldest those marked `oldest`, with one parameter. If all run, all but
    those marked `newest` run on each release: on the oldest with all parameters, on those between with one, on the next
    release with the next one.
    """
    found: set[Any] = set()
    shared: dict[tuple[Path, str, str], list[Any]] = {}
    for test in () if CHOSEN else tests:
        release = test.callspec.params.get("release") if hasattr(test, "callspec") else None
        if release not in RELEASES[:-1]:
            continue
        is_oldest = release == RELEASES[0]
        marks = {mark.name for mark in test.iter_markers()}
        runs = "newest" not in marks if ALL else is_oldest and "oldest" in marks
        if not runs:
            found.add(test)
        elif not (ALL and is_oldest):
            shared.setdefault((test.path, test.originalname, release), []).append(test)
    for (_, _, release), each in shared.items():
        turn = RELEASES.index(release) % len(each)
        found.update(each[:turn], each[turn + 1 :])
    return found


def releases() -> list[str]:
    """Return the releases to test: those in TEST_ZRB_RELEASES (which may include `latest`), else the supported ones.

    Without TEST_ZRB_RELEASES, `left_out` says which tests run on which of them. With it (as in `make matrix`) every
    test runs on each.
    """
    return CHOSEN.replace(",", " ").split() or RELEASES
