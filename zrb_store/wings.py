"""Wings: folders that use the core, and that can be deleted.

No other folder imports a wing. Its `wing.py` says what it adds, as a `Wing`; `installed` finds it by name. What is not
needed to list it is named as `MODULE:NAME`, and imported when it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from zrb_store.errors import ZrbStoreError

NAMES = ("shell", "watch", "page", "transfer", "replay", "agents", "own_tables", "traces")
"""The folders of this package that are wings."""


class Command(NamedTuple):
    """A command as lists show it. Its module is imported when it is used, so zrb starts fast."""

    module: str
    purpose: str
    after: str | None = None
    """The command that it follows in lists; None for the first one."""
    reads: bool = False
    """Whether it changes and takes nothing. Only such a command is suggested to a user who mistypes one."""
    other_names: tuple[str, ...] = ()
    """What other programs call it."""
    answer: str | None = None
    """`MODULE:FUNCTION` that gets its words and a function for messages, and returns whether it has answered already.

    It is called before click is imported.
    """
    refusal: int | None = None
    """Its exit code for every error of ours, if the usual ones could be those of a command that it runs."""
    under_zrb: str | None = None
    """`MODULE:CLASS` of the object that it gets as `ctx.obj` from `zrb xcom`."""
    dies_of_interrupt: bool = False
    """Whether its process dies of SIGINT after Ctrl-C: bash ends its script only then."""


class Setting(NamedTuple):
    """A variable that users set."""

    name: str
    meaning: str  # in Markdown
    default: str | None  # as one would write it; None if it is unset by default
    explained: str | None = None  # the default in words, if it does not explain itself
    after: str | None = None  # the setting that it follows in lists; None for the first one
    choices: tuple[str, ...] = ()  # the words that it may be
    check: str | None = None  # `MODULE:FUNCTION` that raises `InvalidArgument` if its value cannot be used

    @property
    def shown_default(self) -> str:
        """The default as people read it."""
        return self.explained or self.default or ""


class Kind(NamedTuple):
    """A kind of steps, and how readers word them. Without it, they are plain steps."""

    teller: str | None = None
    """`MODULE:FUNCTION` that makes what tells a step (`Teller` of inspect/told.py)."""
    fact: str | None = None
    """`MODULE:FUNCTION` that returns what is said of its last attempt beside the name of a step, or None."""
    answer: str | None = None
    """`MODULE:FUNCTION` that returns the words of the command that answers a wait of this kind."""
    differences: str | None = None
    """`MODULE:FUNCTION` that finds where tasks with such steps differ (`Compare` of inspect/diff.py)."""


class View(NamedTuple):
    """Another view of a session: `show --NAME`, and a part of its page."""

    name: str
    purpose: str  # of the option
    details: str  # of the help of `show`
    format: str  # that only this view has
    print: str  # `MODULE:FUNCTION` that gets a session, its task, a format and whether long texts are shown whole
    texts: str  # `MODULE:FUNCTION` that returns its texts for a page (`Texts` of page/content.py)
    unit: str  # what one of these texts is called
    compared: str  # what `diff` compares of it, for its help


class Numbers(NamedTuple):
    """Numbers that `stats` shows of each task, if one of them has some."""

    name: str  # in JSON
    read: str  # `MODULE:FUNCTION` that reads them (`Read` of watch/stats.py)
    columns: tuple[str, ...]
    families: Mapping[str, str]  # of Prometheus: what each says
    details: str  # of the help of `stats`


class Wing(NamedTuple):
    """What a wing adds to the core."""

    commands: Mapping[str, Command] = {}
    db_commands: tuple[str, ...] = ()
    """`MODULE:NAME` of each command of the group `db`."""
    settings: tuple[Setting, ...] = ()
    kinds: Mapping[str, Kind] = {}
    view: View | None = None
    numbers: Numbers | None = None
    variables: tuple[str, ...] = ()
    """Variables that it sets for the processes that it starts: users do not."""
    notifier: str | None = None
    """A module with the functions of `Notifier` (`runtime/notify.py`)."""
    observer: str | None = None
    """A module with the functions `observer`, `configure` and `flush` (`observe.py`)."""
    figures: str | None = None
    """A module with the functions of `Figures` (`page/pages.py`)."""
    command_resumer: str | None = None
    """`MODULE:CLASS` of the `CommandResumer` of sessions that run a command."""
    web_pages: str | None = None
    """`MODULE:FUNCTION` that makes an app for zrb's web server (`plugin/web.py`)."""
    recorded_step: str | None = None
    """`MODULE:FUNCTION` that takes a step from the record, in a process whose environment has `settings.REPLAYS`."""
    task_classes: frozenset[str] = frozenset()
    """Names of zrb's classes of tasks that decide themselves which of their completed steps they use again."""
    task_hooks: str | None = None
    """`MODULE:FUNCTION` that hooks these classes, called when one of them is first registered."""
    step_planner: str | None = None
    """`MODULE:FUNCTION` that plans what becomes of a task's steps of its kinds (`PlanSteps` of plugin/resume.py)."""
    step_transaction: str | None = None
    """`MODULE:FUNCTION` that runs a step as a transaction of the user's database."""
    delivery_transaction: str | None = None
    """`MODULE:CLASS` of the context of a delivery that is a transaction of the user's database."""
    push_with: str | None = None
    """`MODULE:FUNCTION` that pushes a value in the user's own transaction."""


@functools.cache
def installed() -> tuple[Wing, ...]:
    """Return the wings whose folders exist."""
    found = []
    for name in NAMES:
        module = f"{__package__}.{name}"
        try:
            found.append(import_module(f"{module}.wing").WING)
        except ModuleNotFoundError as error:
            if error.name not in (module, f"{module}.wing"):  # Python may have left its cache in the folder
                raise
    return tuple(found)


def is_whole() -> bool:
    """Whether all wings are here."""
    return len(installed()) == len(NAMES)


Point = Literal[
    "command_resumer",
    "figures",
    "notifier",
    "observer",
    "recorded_step",
    "step_transaction",
    "delivery_transaction",
    "push_with",
    "web_pages",
]


def place_of(point: Point) -> str | None:
    """Return what a wing has registered for a point; None if no wing that is here has."""
    return next(filter(None, (getattr(wing, point) for wing in installed())), None)


def needed(point: Point, what: str) -> Any:
    """Import what a wing has registered for a point. Without the wing, it is an error that names what is asked for."""
    place = place_of(point)
    if place is None:
        raise ZrbStoreError(f"this zrb-store has no {what}: install one that has")
    return load(place)


def fact_of(kind: str, attempt: object) -> str | None:
    """Return what a wing says of an attempt of a step of this kind beside its name; None if it says nothing."""
    found = kinds().get(kind)
    fact: str | None = load(found.fact)(attempt) if found is not None and found.fact is not None else None
    return fact


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Return the kinds of steps that wings add, by name."""
    return {name: kind for wing in installed() for name, kind in wing.kinds.items()}


def views() -> list[View]:
    """Return the views that wings add."""
    return [wing.view for wing in installed() if wing.view is not None]


def planners_of(names: Iterable[str]) -> list[str]:
    """Return what plans steps of these kinds."""
    found = {*names}
    return [wing.step_planner for wing in installed() if wing.step_planner and not found.isdisjoint(wing.kinds)]


def wing_of_class(cls: type) -> Wing | None:
    """Return the wing that hooks a class of zrb's tasks. By name, since importing one may import large libraries."""
    names = {each.__name__ for each in cls.__mro__}
    return next((wing for wing in installed() if not names.isdisjoint(wing.task_classes)), None)


class _Follows(Protocol):
    @property
    def after(self) -> str | None: ...


Each = TypeVar("Each", bound=_Follows)


def in_order(core: Mapping[str, Each], added: Iterable[tuple[str, Each]]) -> dict[str, Each]:
    """Return things by name, with those that wings add where these want them."""
    found = list(core.items())
    for name, each in added:
        places = {known: place for place, (known, _) in enumerate(found, 1)}
        found.insert(0 if each.after is None else places.get(each.after, len(found)), (name, each))
    return dict(found)


def load(place: str) -> Any:
    """Import what a wing names as `MODULE:NAME`, or as `MODULE`."""
    module, _, name = place.partition(":")
    found = import_module(module)
    return getattr(found, name) if name else found
