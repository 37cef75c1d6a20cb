"""The inputs of a resumed zrb session: the stored ones, and those that the user gives again."""

from __future__ import annotations

import functools
import os
from typing import Any

from zrb_store import codec
from zrb_store.codec.arguments import encode_named
from zrb_store.codec.display import shortened
from zrb_store.errors import InputsDiffer, InvalidArgument
from zrb_store.inspect.resume import ResumeOptions
from zrb_store.masking import MASK, mask_named, mask_remembered, mask_text, one_line, remember
from zrb_store.names import nearest
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyInput, AnyTask
from zrb_store.plugin.inputs import MASKED, TEXT, ask, is_marked, to_store
from zrb_store.plugin.inputs_read import ALL, InputsView
from zrb_store.records import SessionRecord

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
        self.texts: dict[str, str] = {}  # of those that zrb parses, by name
        self.changed: set[str] = set()  # those that are not the stored ones: the task declares them in another way now
        self.added: list[str] = []  # a line about each that the task has declared since, and that gets its default
        self.set: dict[str, tuple[str, str]] = {}  # those that change, each with its text before and from now on
        self.kept: list[str] = []  # a line about each that may have been a default
        self._task = task
        self._declared = {task_input.name: task_input for task_input in task.inputs}
        self._session = session.name
        self._stored: dict[str, Any] = codec.decode(session.inputs) if session.inputs else {}
        self._given = options.inputs
        self._changes = options.changes
        self._asking = asking
        self._context = compat.SharedContext(env=dict(os.environ))
        self._before = compat.SharedContext(env=dict(os.environ))  # with the inputs as they were
        self.values: dict[str, Any] = self._context.input  # each under both of its names
        self._refuse_unknown()
        # One after the other, as zrb does it: a default may be made of earlier inputs.
        for task_input in self._declared.values():
            self._take(task_input)
        if self._changes and not self.set:
            raise self._unchanged_error()
        if asking:
            self._refuse_other_secrets()

    @property
    def known(self) -> dict[str, Any]:
        """The values, without those that are withheld and not given: these are not known unless they are asked for."""
        withheld = {name for name, one in self._declared.items() if self._is_withheld(one) and name not in self._given}
        hidden = {*withheld, *map(compat.to_snake_case, withheld)}
        return {name: value for name, value in self.values.items() if name not in hidden}

    def _refuse_unknown(self) -> None:
        """Raise an error if an input that is stored, given or changed is not declared, or must not be changed."""
        for name in self._stored:
            if name not in self._declared:
                raise self._changed_error(name, "is not declared any more", "declare it again")
        for name in self._given:
            if name not in self._declared:
                raise InvalidArgument(self._not_taken(name))
        for name in self._changes:
            self._refuse_to_set(name)

    def _take(self, task_input: AnyInput) -> None:
        """Give an input its value."""
        name, is_secret = task_input.name, compat.is_secret(task_input)
        default = self._new_default(task_input)
        self._take_from_source(task_input, default)
        if is_secret:
            remember(str(self.values[name]))
        if default is not None and not self._is_comparable(task_input) and (name in self._stored) != is_secret:
            self.set[name] = MASK, MASK
        if name not in self.set:
            self._put(task_input, self.values[name], self._before)

    def _take_from_source(self, task_input: AnyInput, default: str | None) -> None:
        """Take an input's value from where this resume has it, in the order that the docstring of the class gives."""
        name, is_comparable = task_input.name, self._is_comparable(task_input)
        if name in self._changes:
            self._set(task_input, self._changes[name])
        elif default is not None and is_comparable:
            self._parse(task_input, default)
            self._note_set(name, self._stored[name])
        elif is_comparable and self._take_stored(task_input):
            if name in self._given:
                raise InvalidArgument(self._not_taken(name))
        elif name in self._given:
            self._take_given(task_input)
        elif is_comparable:
            raise self._not_stored_error(name)
        elif self._asking and compat.is_secret(task_input):
            self._parse_given(task_input, ask(task_input, self._context, was_given=name in self._stored))
        elif self._is_withheld(task_input):
            self._parse_default(task_input)
        else:
            self._take_added(task_input)

    def _take_given(self, task_input: AnyInput) -> None:
        """Take a value of the command line."""
        name, is_comparable = task_input.name, self._is_comparable(task_input)
        self._parse_given(task_input, self._given[name])
        if is_comparable or name not in self._stored:
            self.changed.add(name)
        if self.set and is_comparable:
            self._note_set(name, self._stored[name])

    def _refuse_other_secrets(self) -> None:
        """Raise an error if an input that held a secret differs from what is stored of it."""
        for name, task_input in self._declared.items():
            stored = self._stored.get(name)
            if compat.is_secret(task_input) or not is_marked(stored, MASKED):
                continue
            values = self._before.input if name in self.set else self.values
            if to_store(values[name], functools.partial(self.texts.get, name)) != stored:
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
        if not self.set or name in self._changes or name in self._given:
            return None
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

    def _is_comparable(self, task_input: AnyInput) -> bool:
        """Whether the stored value of an input can be used, if the input takes it."""
        return task_input.name in self._stored and not self._is_withheld(task_input)

    def _unchanged_error(self) -> InvalidArgument:
        names = ", ".join(f"{name} is {_plain(name, self._stored[name])} already" for name in self._changes)
        return InvalidArgument(
            f"--set changes nothing in session {self._session}, where {names}: without it, a resume runs the rest"
        )

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
