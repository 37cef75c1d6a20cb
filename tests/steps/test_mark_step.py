"""`mark --step`: a person settles a step whose end is unknown."""

from __future__ import annotations

import shlex

import pytest

from tests.support.commands import Commands
from tests.support.processes import Child
from tests.support.rows import all_rows
from tests.support.runners import begin_a_step_and_hang
from tests.support.sessions import changes
from tests.support.steps import Boom, Counted, attempt_of, failing, recorded
from zrb_store import InputsDiffer, StepUncertain, Store, Xcom
from zrb_store.inspect.resume import Reruns
from zrb_store.process import identity
from zrb_store.queries import attempts
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]

AWKWARD = "card of O'Neill ~ $HOME"


@pytest.fixture
def killed(store: Store, location: str) -> Store:
    """A store in whose session `night` a process was killed amid the step AWKWARD of the task `pay`."""
    store.session("night").xcom["in"].extend(["a", "b", "c"])
    with Child(begin_a_step_and_hang, location, "night", AWKWARD) as child:
        assert child.receive() == 7
        child.kill()
    return store


def advice(store: Store, name: str) -> list[str]:
    """Return the words of the command that `StepUncertain` names, as a shell reads them."""
    with attempt_of(store, "pay", fails=True) as attempt, pytest.raises(StepUncertain) as caught:
        attempt.step(name, int, 7, once=True)
    return shlex.split(str(caught.value).split("`")[3])


@pytest.mark.promise(number=11)
def test_completed_with_a_result_it_is_not_run_again(command: Commands, killed: Store) -> None:
    program, *words, json = advice(killed, AWKWARD)
    assert (program, json) == ("zrb-store", "JSON")
    assert command.ok(*words, '{"receipt": 12}') == "night/pay/2#2\n"
    marked = recorded(killed, "pay/2", 2)
    assert (marked.kind, marked.status, marked.run_id, marked.once) == ("step", "completed", None, True)
    assert marked.arguments == recorded(killed, "pay/2").arguments
    assert marked.parent_id == recorded(killed, "pay/2").parent_id
    charge = Counted()
    with attempt_of(killed, "pay") as attempt:
        assert attempt.step("before", charge) == "done before"
        assert attempt.step(AWKWARD, charge, 7, once=True) == {"receipt": 12}
    assert charge.calls == 0
    assert changes(killed) == [("mark", "night", f"pay/2#2 completed ({AWKWARD})")]


@pytest.mark.promise(number=11)
def test_failed_it_runs_again(command: Commands, killed: Store) -> None:
    assert advice(killed, AWKWARD)[:4] == ["zrb-store", "mark", "night", "pay"]
    assert command.ok("mark", "night", "pay", "failed", "--step", "pay/2") == "night/pay/2#2\n"
    marked, me = recorded(killed, "pay/2", 2), identity()
    assert (marked.status, marked.error_type, marked.given_back_at) == ("failed", None, marked.ended_at)
    assert marked.error_message == f"marked as failed by {me.user} on {me.host}"
    with attempt_of(killed, "pay") as attempt:
        assert attempt.step(AWKWARD, int, 7, once=True) == 7
    assert recorded(killed, "pay/2", 3).once


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_the_dead_attempt_did_is_given_back_first(command: Commands, killed: Store, status: str) -> None:
    assert recorded(killed, "pay/2").status == "running"
    assert list(killed.session("night").xcom["in"]) == ["c"]
    command.ok("mark", "night", "pay", "--step", AWKWARD, status)
    assert list(killed.session("night").xcom["in"]) == ["a", "b", "c"]
    assert [recorded(killed, name).status for name in ("pay", "pay/1", "pay/2")] == ["lost", "completed", "lost"]


@pytest.mark.promise(number=11)
def test_a_marked_step_rests_on_nothing(command: Commands, store: Store, inbox: Xcom) -> None:
    run = store.session("night").run().start()
    with run.attempt("pay"):
        assert inbox.pop() == "a"
    run.end("failed")
    assert command("mark", "night", "pay", "--step", "charge", "completed", "--result", "8").code == 0
    done = attempts.in_effect(store.database, store.session("night").record().id, "pay")
    assert done is not None
    assert recorded(store, "pay/1").parent_id == done.id
    chosen = Reruns([(done.id, "not-restorable")])
    again = store.session("night").run()
    again.choose_reruns = lambda *_: chosen
    with again as run, run.attempt("pay") as attempt:
        assert list(inbox) == ["a", "b", "c"]
        assert attempt.step("charge", failing, 7) == 8


def test_a_step_that_never_began_can_be_completed(command: Commands, store: Store) -> None:
    with attempt_of(store, "pay", fails=True) as attempt:
        attempt.step("before", int)
    done = command("mark", "night", "pay", "--step", "befor", "completed", "--result", '"by hand"')
    assert (done.code, done.out) == (0, "night/pay/2#1\n")
    assert done.err == "zrb-store: task pay of session night had no step befor until now; did you mean before?\n"
    marked = recorded(store, "pay/2")
    assert (marked.arguments, marked.once, marked.parent_id) == (None, False, recorded(store, "pay", 1).id)
    assert recorded(store, "pay/1").parent_id == marked.parent_id
    with attempt_of(store, "pay") as attempt:
        assert attempt.step("befor", failing, "whatever", once=True) == "by hand"
        assert attempt.step("next", int) == 0
    assert recorded(store, "pay/3").step == "next"


def test_without_a_result_it_is_null(command: Commands, store: Store) -> None:
    with attempt_of(store, "pay", fails=True) as attempt, pytest.raises(Boom):
        attempt.step("page", failing, 1)
    command.ok("mark", "night", "pay", "--step", "page", "completed")
    with attempt_of(store, "pay", fails=True) as attempt:
        assert attempt.step("page", failing, 1) is None
    with attempt_of(store, "pay") as attempt, pytest.raises(InputsDiffer):
        attempt.step("page", failing, 2)


def test_a_task_that_has_not_started_yet(command: Commands, store: Store) -> None:
    with store.session("night").run() as run:
        run.note_tasks({"load": "not started", "pay": "not started"})
        run.end("failed")
    assert command("mark", "night", "pay", "--step", "charge", "completed", "--result", "1").out == "night/pay/1#1\n"
    assert recorded(store, "pay/1").parent_id is None
    with attempt_of(store, "pay") as attempt:
        assert attempt.step("charge", failing) == 1


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_step_whose_result_could_not_be_stored(command: Commands, store: Store, status: str) -> None:
    out = store.session("night").xcom["out"]

    def make() -> object:
        out.push("made")
        return object()

    with attempt_of(store, "pay", fails=True) as attempt, pytest.warns(RuntimeWarning, match="step make"):
        attempt.step("make", make, once=True)
    with attempt_of(store, "pay", fails=True) as attempt, pytest.raises(StepUncertain, match="could not be stored"):
        attempt.step("make", make, once=True)
    command.ok("mark", "night", "pay", "--step", "make", status)
    assert list(out) == (["made"] if status == "completed" else []), "what it pushed stands only if it completed"
    with attempt_of(store, "pay") as attempt:
        assert attempt.step("make", lambda: out.push("made"), once=True) is None
    assert list(out) == ["made"]


def test_a_name_goes_before_an_id(command: Commands, store: Store) -> None:
    with attempt_of(store, "pay", fails=True) as attempt:
        for name in ("one", "pay/1"):
            with pytest.raises(Boom):
                attempt.step(name, failing)
    assert command.ok("mark", "night", "pay", "--step", "pay/1", "failed") == "night/pay/2#2\n"
    assert command.ok("mark", "night", "pay", "--step", "pay/2", "failed") == "night/pay/2#3\n"


def test_a_name_that_messages_show_differently_is_given_as_an_id(command: Commands, store: Store) -> None:
    name = "a\nline, https://me:secret@host"
    with pytest.raises(Crash), attempt_of(store, "pay") as attempt, crash_at("step_complete:before"):
        attempt.step(name, int, 7, once=True)
    expire_lease(store.session("night"))
    words = advice(store, name)
    assert words[1:6] == ["mark", "night", "pay", "--step", "pay/1"]
    command.ok(*words[1:-1], "1")
    with attempt_of(store, "pay") as attempt:
        assert attempt.step(name, failing, 7, once=True) == 1


def test_what_cannot_be_marked(command: Commands, store: Store) -> None:
    def mark(*words: str, session: str = "night", task: str = "pay") -> tuple[int, str]:
        code, out, err = command("mark", session, task, *words)
        assert out == ""
        return code, err

    with attempt_of(store, "pay", fails=True) as attempt:
        attempt.step("charge", int, once=True)
        code, err = mark("--step", "charge", "failed")
        assert (code, "is being run" in err) == (75, True)
    before = all_rows(store)
    assert mark("failed") == (
        2,
        "zrb-store: only a step can be marked as failed: add --step STEP (see `zrb-store mark --help`)\n",
    )
    code, err = mark("--step", "charge", "failed", "--result", "1")
    assert (code, "has no result" in err) == (2, True)
    for status in ("completed", "failed"):
        assert mark("--step", "charge", status) == (
            1,
            "zrb-store: step charge of task pay (night/pay/1#1) has completed already: its result is stored\n",
        )
    assert mark("--step", "charg", "failed") == (
        3,
        "zrb-store: task pay of session night has no step charg; did you mean charge?\n",
    )
    assert mark("--step", "pay/2", "completed")[0] == 3
    assert mark("--step", "pay/x", "failed")[0] == 3
    assert mark("completed", task="pay/1") == (
        3,
        "zrb-store: session night has no task pay/1; for step charge of task pay, use `zrb-store mark night pay --step "
        "pay/1 completed`\n",
    )
    assert mark("--step", "charge", "completed", task="pays") == (
        3,
        "zrb-store: session night has no task pays; it has: pay\n",
    )
    assert mark("--step", "charge", "completed", session="evening")[0] == 3
    assert mark("--step", "x" * 600, "completed")[0] == 2
    assert all_rows(store) == before
    with attempt_of(store, "pay"):
        pass
    code, err = mark("--step", "refund", "completed")
    assert (code, "there is nothing left to mark" in err) == (1, True)
