"""Files that steps of scripts produce: if one has changed, its step and what follows run again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.shell.conftest import ON_SQLITE, steps
from tests.support.postgres import wait_until
from tests.support.rows import faults, is_waiting
from tests.support.scripts import Scripts
from zrb_store import Store, open_store
from zrb_store.db.transaction import Transaction
from zrb_store.queries.dependent_steps import steps_in
from zrb_store.queries.give_back import give_back
from zrb_store.queries.steps import of_attempt
from zrb_store.queries.stored_step import use

pytestmark = pytest.mark.slow


@pytest.fixture
def scripts(location: str, tmp_path: Path) -> Scripts:
    return Scripts(tmp_path, location)


@ON_SQLITE
@pytest.mark.promise(number=11)
def test_a_step_whose_produced_file_is_gone_runs_again(store: Store, scripts: Scripts) -> None:
    """If one is gone or changed, its step and all that began later run again, unless one is declared `once`."""
    scripts.write(
        "script.sh",
        "set -e\n"
        "zrb-store step before -- sh -c 'echo before >>ran'\n"
        "zrb-store step dump --produces dump.sql -- sh -c 'echo dump >>ran; cat data >dump.sql'\n"
        "zrb-store step count -- sh -c 'echo count >>ran; wc -l <dump.sql'\n"
        "[ ! -e paid ] || zrb-store step pay --once -- sh -c 'echo pay >>ran'\n"
        "exit 1\n",
    )
    data = scripts.write("data", "1\n")
    assert scripts.night()[:2] == (1, "1\n")
    assert scripts.night()[:2] == (1, "1\n")
    assert scripts.lines("ran") == ["before", "dump", "count"]
    (scripts.folder / "dump.sql").unlink()
    data.write_text("1\n2\n")
    assert scripts.night()[:2] == (1, "2\n")
    assert scripts.lines("ran")[3:] == ["dump", "count"]
    scripts.write("paid", "")
    scripts.night()
    scripts.write("dump.sql", "9\n9\n")
    refused = scripts.night()
    assert refused.code == 125
    assert f"({scripts.folder}/dump.sql has changed)" in refused.err
    assert scripts.lines("ran")[5:] == ["pay"]
    scripts.write("dump.sql", "1\n2\n")
    assert scripts.night()[:2] == (1, "2\n")
    assert scripts.lines("ran")[6:] == []
    assert faults(store) == []


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=11)
def test_what_an_execution_has_passed_stays(store: Store, scripts: Scripts) -> None:
    """A step that runs again takes only those with it which the script has still to come to."""
    scripts.write(
        "script.sh",
        "set -e\n"
        "for name in $(cat order); do\n"
        "[ $name = c ] && once=--once || once=\n"
        "zrb-store step $name $once --produces $name.txt -- "
        'sh -c "echo $name >$name.txt; zrb-store push @this out $name --text"\n'
        "done\n"
        "[ -e fixed ]\n",
    )
    out = store.session("night").xcom["out"]
    scripts.write("order", "a b c")
    assert scripts.night().code == 1
    (scripts.folder / "b.txt").unlink()
    assert "step c of task backup" in scripts.night().err  # it is declared `once`, and would run again
    assert list(out) == ["a", "b", "c"]
    scripts.write("order", "c b a")  # as if all ran at the same time
    scripts.write("fixed", "")
    ended = scripts.night()
    assert ended.code == 0, ended.err
    assert list(out) == ["a", "c", "b"]
    assert [name for name, _ in steps(store)] == ["a", "b", "c", "b"]
    assert faults(store) == []


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=11)
def test_a_file_that_changes_twice_in_an_execution(store: Store, scripts: Scripts) -> None:
    """What was announced between two runs of a step stays announced, in this start and in the next one."""
    scripts.write(
        "script.sh",
        "set -e\n"
        "zrb-store step ensure --produces data -- sh -c 'echo data >data; echo ensure >>ran'\n"
        "zrb-store step announce -- zrb-store push @this out announced --text\n"
        "rm data\n"
        "zrb-store step ensure --produces data -- sh -c 'echo data >data; echo ensure >>ran'\n"
        "[ -e fixed ]\n",
    )
    assert scripts.night().code == 1
    scripts.write("fixed", "")
    assert scripts.night().code == 0
    assert list(store.session("night").xcom["out"]) == ["announced"]
    assert scripts.lines("ran") == ["ensure"] * 3
    assert faults(store) == []


def test_a_step_is_used_or_given_back(store: Store, location: str) -> None:
    """Whoever uses a step waits for a transaction that chooses what to give back, and then knows."""
    with store.session("night").run(task="backup") as run, run.attempt("backup") as attempt:
        attempt.step("count", len, "a")
        (known,) = of_attempt(store.database, attempt.id).values()
        used: list[bool] = []
        user = threading.Thread(target=lambda: used.append(use(store.database, attempt.id, known.id)))

        def discard(transaction: Transaction) -> None:
            chosen = steps_in(transaction, attempt.id, "backup", results=False, lock=True)
            user.start()
            if transaction.dialect_name == "postgresql":
                wait_until(lambda: bool(used) or is_waiting(watcher), lambda: "the step is not used")
            give_back(transaction, [(step.id, "changed") for step in chosen])

        with open_store(location) as other, open_store(location) as watcher:
            other.database.transact(discard)
        user.join()
        assert used == [False]


@ON_SQLITE
@pytest.mark.promise(number=11)
def test_a_file_that_is_named_later(store: Store, scripts: Scripts) -> None:
    """The step runs again, since nobody knows what it left there. A file that is no longer named does not matter."""
    dump, count = "step dump %s -- sh -c 'echo dump | tee -a ran >dump.sql'", "step count -- wc -l ran"
    call = f"zrb-store {dump}\nzrb-store {count}\nexit 1\n"
    for options in ("", "--produces dump.sql", "--produces=dump.sql"):
        scripts.write("script.sh", call % options)
        assert scripts.night().code == 1
    assert steps(store) == [(name, "completed") for name in ("dump", "count", "dump", "count")]
    (scripts.folder / "dump.sql").unlink()
    scripts.write("script.sh", call % "")
    assert scripts.night().code == 1
    assert len(scripts.lines("ran")) == 2
    scripts.write("script.sh", call % "--produces=dump.sql")
    assert scripts.night().code == 1
    assert len(scripts.lines("ran")) == 3


@ON_SQLITE
def test_a_file_that_was_not_produced(store: Store, scripts: Scripts) -> None:
    scripts.write("script.sh", "zrb-store step dump --produces . --produces none -- true")
    missing = scripts.night()
    assert missing.code == 125
    assert f"step dump has not produced what it should: {scripts.folder} is no regular file" in missing.err
    assert steps(store) == [("dump", "failed")]
