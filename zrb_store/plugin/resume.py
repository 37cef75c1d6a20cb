"""`zrb xcom resume`: plan and run the remaining tasks of a stored session (`Resumer`).

First come its inputs: the stored ones, and those that the user gives again.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zrb_store import codec
from zrb_store.codec.arguments import encode_named
from zrb_store.codec.display import shortened
from zrb_store.errors import InputsDiffer, InvalidArgument, TaskNotFound
from zrb_store.inspect.resume import (
    Decision,
    ResumeOptions,
    commands_to_end,
    is_of_event,
    plan,
    refuse_program,
    without_task,
)
from zrb_store.masking import MASK, mask_named, mask_remembered, mask_text, one_line, remember
from zrb_store.names import nearest
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyInput, AnyTask
from zrb_store.plugin.graph import Graph, has_changed
from zrb_store.plugin.inputs import MASKED, TEXT, ask, given_again, is_marked, to_store
from zrb_store.plugin.inputs_read import ALL, InputsView
from zrb_store.plugin.messages import warn
from zrb_store.process import current_project
from zrb_store.queries import attempts
from zrb_store.queries.agents import KINDS, AgentStep
from zrb_store.queries.dependent_steps import steps_to_resume
from zrb_store.queries.steps import StepRecord
from zrb_store.queries.survived import survived_by
from zrb_store.records import SessionRecord
from zrb_store.run import RunSpec
from zrb_store.store import Store

_LONGEST = 60  # characters of a value in the reason of a plan


class ResumedInputs:
    """The inputs that a resumed task gets: the stored ones, completed by what is not stored.

    A secret input comes from the command line, or is asked for as zrb asks, if anything runs (`asking`). An input that
    is stored with a secret masked comes from the command line, or is its default again; so does one that the task has
    declared since. An input that does not take what is stored, since it is declared in another way now, comes from the
    command line. One that is changed (`--set`) has its new value. One that had its default has the new default, if
    that is made of a changed input.
    """

    def __init__(self, task: AnyTask, session: SessionRecord, options: ResumeOptions, *, asking: bool) -> None:
        given, changes = options.inputs, options.changes
        self.texts: dict[str, str] = {}  # of those that zrb parses, by name
        self.changed: set[str] = set()  # those that are not the stored ones: the task declares them in another way now
        self.added: list[str] = []  # a line about each that the task has declared since, and that gets its default
        self.set: dict[str, tuple[str, str]] = {}  # those that change, each with its text before and from now on
        self.kept: list[str] = []  # a line about each that may have been a default
        self._task = task
        self._declared = {task_input.name: task_input for task_input in task.inputs}
        self._session = session.name
        self._stored: dict[str, Any] = codec.decode(session.inputs) if session.inputs else {}
        self._given = given
        self._asking = asking
        self._context = compat.SharedContext(env=dict(os.environ))
        self._before = compat.SharedContext(env=dict(os.environ))  # with the inputs as they were
        self.values: dict[str, Any] = self._context.input  # each under both of its names
        for name in self._stored:
            if name not in self._declared:
                raise self._changed_error(name, "is not declared any more", "declare it again")
        for name in self._given:
            if name not in self._declared:
                raise InvalidArgument(self._not_taken(name))
        for name in changes:
            self._refuse_to_set(name)
        # One after the other, as zrb does it: a default may be made of earlier inputs.
        for name, task_input in self._declared.items():
            is_comparable = name in self._stored and not self._is_withheld(task_input)
            default = self._new_default(task_input) if self.set and name not in {*changes, *given} else None
            if name in changes:
                self._set(task_input, changes[name])
            elif default is not None and is_comparable:
                self._parse(task_input, default)
                self._note_set(name, self._stored[name])
            elif is_comparable and self._take_stored(task_input):
                if name in self._given:
                    raise InvalidArgument(self._not_taken(name))
            elif name in self._given:
                self._parse_given(task_input, self._given[name])
                self.changed |= {name} if is_comparable or name not in self._stored else set()
                if self.set and is_comparable:
                    self._note_set(name, self._stored[name])
            elif is_comparable:
                raise self._not_stored_error(name)
            elif self._asking and compat.is_secret(task_input):
                self._parse_given(task_input, ask(task_input, self._context, was_given=name in self._stored))
            elif self._is_withheld(task_input):
                self._parse_default(task_input)
            else:
                self._take_added(task_input)
            if compat.is_secret(task_input):
                remember(str(self.values[name]))
            if default is not None and not is_comparable and (name in self._stored) != compat.is_secret(task_input):
                self.set[name] = MASK, MASK
            if name not in self.set:
                self._put(task_input, self.values[name], self._before)
        if changes and not self.set:
            names = ", ".join(f"{name} is {_plain(name, self._stored[name])} already" for name in changes)
            raise InvalidArgument(
                f"--set changes nothing in session {self._session}, where {names}: without it, a resume runs the rest"
            )
        withheld = {name for name, one in self._declared.items() if self._is_withheld(one) and name not in given}
        hidden = {*withheld, *map(compat.to_snake_case, withheld)}
        self.known = {name: value for name, value in self.values.items() if name not in hidden}  # unless they are asked
        for name, task_input in self._declared.items() if asking else ():
            stored = self._stored.get(name)
            if compat.is_secret(task_input) or not is_marked(stored, MASKED):
                continue
            values = self._before.input if name in self.set else self.values
            if to_store(values[name], functools.partial(self.texts.get, name)) != stored:  # it is another one now
                raise InvalidArgument(
                    f"input {name} held a secret, which is not stored: give --{name} VALUE as it was, "
                    f"{stored[MASKED]!r}"
                )

    def _refuse_to_set(self, name: str) -> None:
        """Raise `InvalidArgument` if an input cannot be changed, since there is none or it holds a secret."""
        task_input = self._declared.get(name)
        if task_input is None:
            known = ", ".join(self._declared) or "none"
            raise InvalidArgument(
                f"{self._task.name} has no input {name}{nearest(name, self._declared)}; its inputs are {known}"
            )
        if self._is_withheld(task_input):
            raise InvalidArgument(
                f"input {name} holds a secret, and it is not known who read which one: give --{name} VALUE, and with "
                "--from the task that runs again"
            )
        if name in self._given:
            raise InvalidArgument(
                f"input {name} is given twice, as --set {name}=... and as --{name}: leave one of them out"
            )

    def _set(self, task_input: AnyInput, text: str) -> None:
        """Take a value that changes an input."""
        name = task_input.name
        if name in self._stored:
            self._take_stored(task_input)
            self._put(task_input, self.values.get(name), self._before)
        self._parse_given(task_input, text, "--set")
        self._note_set(name, self._stored.get(name))

    def _note_set(self, name: str, before: Any) -> None:
        """Note that an input has another value from now on, unless it is equal."""
        now = to_store(self.values[name], functools.partial(self.texts.get, name))
        if name not in self._stored or encode_named({name: now}) != encode_named({name: before}):
            self.set[name] = ("none" if name not in self._stored else _plain(name, before)), _plain(name, now)

    def _new_default(self, task_input: AnyInput) -> str | None:
        """Return the text of an input's default if the changed inputs make another one, and it had its default."""
        name = task_input.name
        read: set[str] = set()
        vars(self._context)["_input"] = InputsView(self._context.input, read.add)
        try:
            before, now = (str(task_input.get_default_str(one)) for one in (self._before, self._context))
            # One that is made of the time, or of chance, differs by itself.
            if before == now or read.isdisjoint((ALL, *self.set, *map(compat.to_snake_case, self.set))):
                return None
            task_input.update_shared_context(self._before, str_value=before)
        except Exception:  # noqa: BLE001 - the user's function
            return None
        finally:
            vars(self._context)["_input"] = self.values
        was = to_store(self._before.input[name], lambda: before)
        if self._is_withheld(task_input) or name not in self._stored:
            return now
        if encode_named({name: was}) == encode_named({name: self._stored[name]}):
            return now
        self.kept.append(
            f"input {name} stays {_plain(name, self._stored[name])}: it was given, or its default has another reason "
            f"to differ; --set {name}=VALUE changes it"
        )
        return None

    def _is_withheld(self, task_input: AnyInput) -> bool:
        """Whether an input is not stored because it is or contains a secret."""
        return compat.is_secret(task_input) or is_marked(self._stored.get(task_input.name), MASKED)

    def _changed_error(self, name: str, what: str, remedy: str) -> InputsDiffer:
        return InputsDiffer(
            f"input {name} of session {self._session} {what}: the declaration of task {self._task.name} has changed; "
            f"{remedy}, or use another session name"
        )

    def _not_stored_error(self, name: str) -> InputsDiffer:
        stored = self._stored[name]
        if isinstance(stored, codec.Opaque | codec.Undecodable):
            return InputsDiffer(f"input {name} of session {self._session} cannot be stored: give --{name} VALUE again")
        if self.set:
            return InputsDiffer(
                f"input {name} of session {self._session} is {_shown(name, stored)}, which it does not take with the "
                f"changed inputs: add --set {name}=VALUE"
            )
        what = f"is stored as {_shown(name, stored)}, but would be stored differently now"
        return self._changed_error(name, what, f"give --{name} VALUE")

    def _not_taken(self, name: str) -> str:
        """Say which inputs the command line of a resume may give, instead of the one that it does give."""
        options = [
            f"--{other}"
            for other, task_input in self._declared.items()
            if other not in self._stored or self._is_withheld(task_input)
        ]
        others = "a resume takes the stored inputs"
        if options:
            others += f", and from the command line only {', '.join(options)}{nearest(f'--{name}', options)}"
        return f"--{name} is not a secret input of {self._task.name}: {others}"

    def _parse(self, task_input: AnyInput, text: str) -> None:
        task_input.update_shared_context(self._context, str_value=text)
        self.texts[task_input.name] = text

    def _put(self, task_input: AnyInput, value: Any, context: compat.SharedContext | None = None) -> None:
        names = (task_input.name, compat.to_snake_case(task_input.name))
        (context or self._context).input.update(dict.fromkeys(names, value))

    def _take_stored(self, task_input: AnyInput) -> bool:
        """Take what is stored; for an input of zrb's own class, if that is what zrb would make of its text now."""
        stored = self._stored[task_input.name]
        if isinstance(stored, codec.Opaque | codec.Undecodable):
            return False
        if is_marked(stored, TEXT):
            try:
                self._parse(task_input, stored[TEXT])
            except Exception:  # noqa: BLE001 - the user's function
                return False
            return True
        is_same = True
        # A class of the user's need not take the text of a value that it made of another text.
        if type(task_input).__module__.startswith("zrb."):
            try:
                task_input.update_shared_context(self._context, str_value=str(stored))
                is_same = type(self._context.input[task_input.name]) is type(stored)
            except Exception:  # noqa: BLE001 - a default or a choice may be the user's function
                is_same = False
        self._put(task_input, stored)
        return is_same

    def _parse_given(self, task_input: AnyInput, text: str, option: str = "") -> None:
        for name in (task_input.name, compat.to_snake_case(task_input.name)):
            self._context.input.pop(name, None)  # what is stored may have been tried
        try:
            self._parse(task_input, text)
        except Exception:  # noqa: BLE001 - the user's function; its text may quote a secret
            given = f"{option} {task_input.name}=..." if option else f"--{task_input.name}"
            raise InvalidArgument(f"{given} was given a value that the input does not take") from None

    def _take_added(self, task_input: AnyInput) -> None:
        """Take the default of an input that was not declared when the session started."""
        name = task_input.name
        text = self._parse_default(task_input)
        if text == "" and not compat.allows_empty(task_input):
            raise self._changed_error(name, "is new, and has no default", f"give --{name} VALUE")
        self.changed.add(name)
        self.added.append(describe_added(name, self._session, text))

    def _parse_default(self, task_input: AnyInput) -> str:
        """Take the default of an input, and return its text."""
        try:
            text = str(task_input.get_default_str(self._context))
            self._parse(task_input, text)
        except Exception as error:  # noqa: BLE001 - the user's function
            if self._asking:
                name = task_input.name
                raise InvalidArgument(
                    f"the default of input {name} cannot be computed ({one_line(mask_text(str(error)))}): "
                    f"give --{name} VALUE"
                ) from None
            self._put(task_input, "")  # it may be made of a secret, which is not known
            return MASK
        return text


def describe_added(name: str, session: str, text: str) -> str:
    """Say that an input was not declared when the session started, and gets its default."""
    return f"input {name} is new since session {session} started: its default is used, {_shown(name, text)}"


def _shown(name: str, value: Any) -> str:
    text = value[TEXT] if is_marked(value, TEXT) else value
    (masked,) = mask_named({name: text}).values()
    return one_line(mask_text(mask_remembered(repr(masked))))


def _plain(name: str, value: Any) -> str:
    """Return a stored input as `--set` takes it, in one line and with its secrets masked."""
    from zrb_store.render.format import setting_text

    tree = mask_named(codec.to_json(encode_named({name: value})))
    text = setting_text(tree[name] if type(tree) is dict else tree)
    text = shortened(one_line(mask_text(mask_remembered(text))), _LONGEST)
    return text if text and text == text.strip() else repr(text)


@dataclass(frozen=True)
class ResumeRequest:
    """A resume that was asked for."""

    session: SessionRecord
    graph: Graph
    options: ResumeOptions
    runs: bool = True  # whether anything is left to run
    secrets: frozenset[str] = frozenset()  # names of the secret inputs that an earlier run was given
    changed_inputs: frozenset[str] = frozenset()  # names of those that are declared in another way now
    set_inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # those that change, as `RunSpec` has them


class Resumer:
    """One resume: its plan and its run. The command `resume` gets it as click's `ctx.obj`."""

    changed: Mapping[str, tuple[str, str]] = {}  # the inputs that `plan` found to change, with their texts
    _is_accepted = False
    _task: AnyTask
    _inputs: ResumedInputs
    _zrb_session: compat.Session
    _request: ResumeRequest

    @functools.cached_property
    def project(self) -> str:
        """The project of the working directory."""
        return current_project(compat.CFG.INIT_FILE_NAME)

    def plan(self, store: Store, session: SessionRecord, options: ResumeOptions) -> list[Decision]:
        """Decide what a resume of the session runs and skips."""
        refuse_program(store.database, session)
        graph = self.declared(session, takes_over=options.takes_over)
        self._inputs = ResumedInputs(self._task, session, options, asking=False)
        self.changed = self._inputs.set
        decisions = plan(store.database, session, graph.workflow(self._task), options, self.changed)
        runs = any(decision.action == "run" for decision in decisions)
        self._request = ResumeRequest(session, graph, options, runs, given_again(session))
        return decisions

    def explain(self, store: Store, decisions: list[Decision]) -> tuple[list[Decision], list[str]]:
        """Add to what was planned what becomes of the steps of agents, and return what else a user should know."""
        request, session = self._request, self._request.session
        asks = [
            f"secret input {one.name} is asked for, unless it is given: --{one.name} VALUE"
            for one in self._task.inputs
            if request.runs and compat.is_secret(one) and one.name not in request.options.inputs
            if one.name in request.secrets or one.always_prompt
        ]
        tasks = {name: task for task, name in request.graph.names.items()}
        skipped = {one.task for one in decisions if one.task in tasks and one.action == "skip"}
        with store.database.snapshot() as transaction:
            notes = commands_to_end(transaction, session, store.database.url)
            notes += without_task(transaction, session.id, decisions)
            notes += [
                f"task {one.task} has changed since {one.name} completed, and is skipped: --from {one.task} runs it"
                for one in attempts.of_session(transaction, session.id)
                if one.in_effect and one.task in skipped and has_changed(tasks[one.task], one.code)
            ]
            running = [decision.task for decision in decisions if decision.action == "run"]
            known = {task: steps_to_resume(transaction, session.id, task) for task in running}
            survived = {task: survived_by(transaction, session.id, task) for task in running if known[task]}
        found, paid_again = self._plan_agents(decisions, tasks, known, survived)
        return found, [*self._inputs.added, *self._inputs.kept, *asks, *notes, *paid_again]

    def _plan_agents(
        self,
        decisions: list[Decision],
        tasks: Mapping[str, AnyTask],
        steps: Mapping[str, list[StepRecord]],
        survived: Mapping[str, Collection[int]],
    ) -> tuple[list[Decision], list[str]]:
        """Add to decisions what becomes of the known steps of agents, and return what is paid again."""
        found, notes = [], []
        for decision in decisions:
            task, known = tasks.get(decision.task), steps.get(decision.task)
            if known and task is not None and compat.is_llm_task(task):
                from zrb_store.agents.changes import paid
                from zrb_store.plugin.agents.planned import plan_agent

                starts_over = not decision.steps and any(one.is_done for one in known)
                over = decision.reason if starts_over else None
                planned = plan_agent(known, task, self._inputs.known, over, survived[decision.task])
                decision = replace(decision, agent_steps=tuple(planned))
                pairs = zip(known, planned, strict=True)
                again, _ = paid([one for one, step in pairs if one.is_done and step.action == "made-again"])
                notes += [f"{decision.task}: a resume repeats {again}"] * bool(again)
            elif decision.steps and any(
                one.is_done and one.kind in KINDS and AgentStep.of(one).agent for one in known or ()
            ):
                later = "whether its agents of `durable()` use their steps again is known when they run"
                notes.append(f"{decision.task}: {later}")
            found.append(decision)
        return found, notes

    def declared(self, session: SessionRecord, *, takes_over: bool = False) -> Graph:
        """Find the main task of a session, make a zrb session for it, and return its tasks."""
        RunSpec(project=self.project, takes_over=takes_over).refuse_other(session)
        self._task = _main_task(session)
        # With the environment: the graph makes the contexts of the tasks, and zrb copies it into each when it is made.
        shared_ctx = compat.SharedContext(args=[], env=dict(os.environ))
        self._zrb_session = compat.Session(shared_ctx=shared_ctx, root_group=compat.cli)
        self._zrb_session.set_main_task(self._task)
        graph = Graph(self._zrb_session)
        RunSpec(task=graph.task_name(self._task), project=self.project, takes_over=takes_over).refuse_other(session)
        return graph

    def accept(self) -> None:
        """Note that what was planned is to be run. `run` does it once click is done."""
        self._is_accepted = True

    def run(self) -> None:
        """Run what was accepted, if anything was. Exceptions and signals of its tasks end the process as in stock zrb.

        The decision of `plan` is taken again when the run has the lease.
        """
        if not self._is_accepted:
            return
        request = self._request
        inputs = ResumedInputs(self._task, request.session, request.options, asking=request.runs)
        for line in (*inputs.added, *inputs.kept):
            warn(line)
        changed = frozenset({*inputs.changed, *inputs.set})
        setattr(self._zrb_session, compat.RESUMED, replace(request, changed_inputs=changed, set_inputs=inputs.set))
        # zrb takes the inputs that a session has, and parses no others.
        self._zrb_session.shared_ctx.input.update(inputs.values)
        result = self._task.run(self._zrb_session, str_kwargs=inputs.texts)
        if compat.stock_exit_is_interrupt(self._zrb_session, self._task):
            raise KeyboardInterrupt
        if result is not None:
            print(result)


def _main_task(session: SessionRecord) -> AnyTask:
    path = " ".join(session.path)
    # Also if its task is a command: without its parent, its results and its mapped queues would go nowhere.
    if is_of_event(session):
        raise TaskNotFound(
            f"session {session.name} handled an event of session {session.parent}, and events are handled once: "
            "push the event again to repeat it"
        )
    task = compat.find_task(session.path)
    if task is None:
        known = [" ".join(words) for words in compat.task_paths()]
        raise TaskNotFound(
            f"the main task of session {session.name}, `{compat.cli.name} {path}`, is not here{nearest(path, known)} "
            f"(its project is {session.project})"
        )
    return task
