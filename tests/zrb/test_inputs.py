"""Inputs that the store cannot keep as they are, and inputs that are declared in another way when a session resumes."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Zrb, lines, only
from zrb_store import codec

OWN = """
from zrb.input.base_input import BaseInput

class Names:
    def __init__(self, names): self.names = names
    def __str__(self): return "<Names>"

class NamesInput(BaseInput):
    def _parse_str_value(self, text):
        ran("parse")
        return Names(text.split(","))

@make_task(name="main", input=NamesInput("some-names", default="a,b", always_prompt=False), retries=0, group=cli)
def main(ctx):
    if exists("broken"):
        raise RuntimeError
    return "+".join(ctx.input.some_names.names)
"""
DECLARED = """
from zrb import BoolInput, FloatInput, IntInput, OptionInput, PasswordInput, StrInput
from zrb.input.base_input import BaseInput

@make_task(name="main", input=[INPUTS], retries=0, group=cli)
def main(ctx):
    if exists("broken"):
        raise RuntimeError
    return [ctx.input[name] for name in NAMES]
"""
DAY = 'StrInput("day", default="1")'


def declare(zrb: Zrb, inputs: str, *names: str) -> None:
    zrb.tasks(DECLARED.replace("INPUTS", inputs).replace("NAMES", repr(names)))


def fail(zrb: Zrb, *args: str) -> None:
    zrb.mark("broken")
    zrb.run("main", *args, code=1, ZRB_STORE_SESSION="night")
    (zrb.folder / "broken").unlink()


def refused(zrb: Zrb, *args: str) -> str:
    """Return why a resume is refused; the plan is refused for the same reason."""
    (line,) = lines(zrb.resume("night", *args, code=65).err)
    assert lines(zrb.resume("night", "--plan", *args, code=65).err) == [line]
    return line.removeprefix("zrb xcom: input ")


# zrb 1 cannot write the log of a session with such an input.
keeps_objects = only(lambda version: version >= (2,))


@pytest.mark.promise(number=2)
@keeps_objects
def test_a_value_of_a_class_of_ones_own(zrb: Zrb) -> None:
    zrb.tasks(OWN)
    fail(zrb, "--some-names", "x,y")
    assert codec.decode(zrb.stored("night").record.inputs or "") == {"some-names": {"text": "x,y"}}
    # zrb parses the text again.
    assert zrb.resume("night").out.strip() == "x+y"
    assert codec.decode(zrb.stored("night").record.inputs or "") == {"some-names": {"text": "x,y"}}
    # Started by name, the texts are compared, also when it has completed.
    other = zrb.run("main", "--some-names", "z", code=65, ZRB_STORE_SESSION="night")
    assert "was started with other inputs: some-names.text: 'x,y' became 'z'" in other.err
    assert other.out == ""
    assert zrb.run("main", "--some-names", "x,y", ZRB_STORE_SESSION="night").out.strip() == "x+y"


@pytest.mark.slow
@keeps_objects
def test_a_default_of_a_class_of_ones_own(zrb: Zrb) -> None:
    zrb.tasks(OWN + "\nif exists('library'):\n    print(main.run(kwargs={'some-names': Names(['k'])}))")
    fail(zrb)
    assert zrb.resume("night").out.strip() == "a+b"
    # A program gives the object itself: it cannot be compared.
    zrb.mark("library")
    program = ("-c", "import zrb_store.plugin, runpy; runpy.run_path('zrb_init.py')")
    assert zrb.run(*program, program="python", ZRB_STORE_SESSION="called").out.strip() == "k"
    again = zrb.run(*program, program="python", code=1, ZRB_STORE_SESSION="called")
    assert "some-names cannot be stored, and so cannot be compared" in again.err


def test_an_input_of_ones_own_class_is_taken_as_it_is_stored(zrb: Zrb) -> None:
    """Its class need not take the text of a value that it made of another text."""
    parsers = {
        "text": "__import__('json').loads(text)",
        "url": "{'prod': 'https://prod'}[text]",
        "parts": "text.split('+')[1:]",
    }
    inputs = ", ".join(
        f'type("Own", (BaseInput,), {{"_parse_str_value": lambda self, text: {parser}}})("{name}")'
        for name, parser in parsers.items()
    )
    declare(zrb, inputs, *parsers)
    fail(zrb, "--text", '"abc"', "--url", "prod", "--parts", "none")
    assert zrb.resume("night").out.strip() == "['abc', 'https://prod', []]"


@pytest.mark.promise(number=2)
@pytest.mark.parametrize(
    ("before", "after", "given", "stored", "result"),
    [
        (DAY, 'IntInput("day", default=1)', "3", "'3'", "[5]"),
        ('IntInput("day", default=1)', DAY, "3", "3", "['5']"),
        ('BoolInput("day", default=True)', 'IntInput("day", default=1)', "True", "True", "[5]"),
    ],
    ids=["text to number", "number to text", "bool to number"],
)
def test_an_input_whose_declaration_has_changed(
    zrb: Zrb, before: str, after: str, given: str, stored: str, result: str
) -> None:
    declare(zrb, before, "day")
    fail(zrb, "--day", given)
    declare(zrb, after, "day")
    assert refused(zrb) == (
        f"day of session night is stored as {stored}, but would be stored differently now: "
        "the declaration of task main has changed; give --day VALUE, or use another session name"
    )
    assert zrb.resume("night", "--day", "5").out.strip() == result
    assert zrb.resume("night").out.strip() == result


@only(lambda version: version >= (3, 28))  # earlier ones take any text
def test_a_choice_that_is_gone(zrb: Zrb) -> None:
    declare(zrb, 'OptionInput("day", options=["3", "4"])', "day")
    fail(zrb, "--day", "3")
    declare(zrb, 'OptionInput("day", options=["4", "5", "6"])', "day")
    assert (
        "is stored as '3', but would be stored differently now: the declaration of task main has changed;"
        in refused(zrb)
    )
    assert zrb.resume("night", "--day", "5").out.strip() == "['5']"


@pytest.mark.slow
@pytest.mark.oldest
@pytest.mark.promise(number=2)
def test_inputs_that_were_added_or_removed(zrb: Zrb) -> None:
    declare(zrb, DAY, "day")
    fail(zrb, "--day", "3")
    declare(zrb, f'{DAY}, IntInput("size", default=7), StrInput("new"), PasswordInput("my-key")', "day", "size", "new")
    why = refused(zrb)
    assert why == (
        "new of session night is new, and has no default: "
        "the declaration of task main has changed; give --new VALUE, or use another session name"
    )
    line, asked = lines(zrb.resume("night", "--plan", "--new", "n").err)
    assert line == "zrb xcom: input size is new since session night started: its default is used, '7'"
    assert asked == "zrb xcom: secret input my-key is asked for, unless it is given: --my-key VALUE"
    assert "day" in zrb.resume("night", "--day", "4", code=2).err
    done = zrb.resume("night", "--new", "n", "--my-key", "k")
    assert done.out.strip() == "['3', 7, 'n']"
    assert line in done.err
    declare(zrb, 'IntInput("size", default=8)', "size")
    assert refused(zrb) == (
        "day of session night is not declared any more: the declaration of task main has changed; "
        "declare it again, or use another session name"
    )


@pytest.mark.oldest
def test_an_input_with_a_secret_name_is_not_shown(zrb: Zrb) -> None:
    declare(zrb, 'StrInput("day-token", default="1")', "day-token")
    fail(zrb, "--day-token", "hunter2")
    declare(zrb, 'IntInput("day-token", default=1), StrInput("new-token", default="hunter3")', "day-token", "new-token")
    assert refused(zrb).startswith(
        "day-token of session night is stored as '***', but would be stored differently now:"
    )
    (line,) = lines(zrb.resume("night", "--plan", "--day-token", "2").err)
    assert line == "zrb xcom: input new-token is new since session night started: its default is used, '***'"


def test_a_value_on_which_a_parser_of_ones_own_fails(zrb: Zrb) -> None:
    declare(zrb, DAY, "day")
    fail(zrb, "--day", "1")
    own = 'type("Own", (BaseInput,), {"_parse_str_value": lambda self, text: {"1": "one"}[text]})("size", default="1")'
    declare(zrb, f"{DAY}, {own}", "day", "size")
    (line,) = lines(zrb.resume("night", "--size", "2", code=2).err)
    assert line == "zrb xcom: --size was given a value that the input does not take"


@pytest.mark.oldest
def test_a_start_by_name_takes_the_default_of_an_added_input(zrb: Zrb) -> None:
    declare(zrb, DAY, "day")
    fail(zrb, "--day", "1")
    declare(zrb, f'{DAY}, IntInput("size", default=7, always_prompt=False)', "day", "size")
    other = zrb.run("main", "--day", "1", "--size", "8", code=65, ZRB_STORE_SESSION="night")
    assert "was started with other inputs: size is new;" in other.err
    done = zrb.run("main", "--day", "1", ZRB_STORE_SESSION="night")
    assert done.out.strip() == "['1', 7]"
    line = "zrb-store: input size is new since session night started: its default is used, '7'"
    assert lines(done.err).count(line) == 1


def test_an_added_input_without_a_usable_default_is_given_or_set(zrb: Zrb) -> None:
    declare(zrb, DAY, "day")
    fail(zrb, "--day", "1")
    declare(zrb, f'{DAY}, StrInput("size", default=lambda ctx: str(1 // 0))', "day", "size")
    (line,) = lines(zrb.resume("night", code=2).err)
    assert line.endswith(
        "the default of input size cannot be computed (integer division or modulo by zero): give --size VALUE"
    )
    assert zrb.resume("night", "--set", "size=7").out.strip() == "['1', '7']"
