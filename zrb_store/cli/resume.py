"""`resume`: only zrb has tasks to run, so the command says what is to be resumed and the plugin runs it."""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from zrb_store.errors import ZrbStoreError


@dataclass
class Request:
    """What is to be resumed.

    Attributes:
        session: Name of the session.
        inputs: Secret inputs given as `--NAME VALUE`; all others are taken from the store.
    """

    session: str
    inputs: dict[str, str] = field(default_factory=dict)


# The plugin sets it: there the request is carried out after click is done, with zrb's own exit codes.
inside_zrb = False
request: Request | None = None


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("session")
@click.argument("inputs", nargs=-1, type=click.UNPROCESSED, metavar="[--SECRET VALUE]...")
def resume(session: str, inputs: tuple[str, ...]) -> None:
    """Run what SESSION has left to do, with the inputs that it was started with.

    Completed tasks are not run again. Secret inputs are not stored: give them as --NAME VALUE, or they are asked for.

    Example: zrb xcom resume etl-2026-11-24
    """
    global request
    if not inside_zrb:
        raise ZrbStoreError(f"only zrb can run tasks: use `zrb xcom resume {session}` in the folder of its project")
    request = Request(session, _options(inputs))


def _options(words: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name or not (equals or rest):
            raise click.UsageError(f"{word!r} is not of the form --NAME VALUE")
        options[name] = value if equals else rest.pop(0)
    return options


COMMANDS = {"resume": resume}
