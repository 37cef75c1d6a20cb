"""A refund that a person has to approve."""

from pathlib import Path

from zrb import AnyContext, cli, make_task

from zrb_store import step, wait


def note(file: str, text: str) -> None:
    """Append a line to a file: what was really done."""
    with Path(file).open("a") as lines:
        lines.write(f"{text}\n")


def compute() -> int:
    note("computed", "computed")
    return 70 + 50


@make_task(name="refund", group=cli, retries=2)
def refund(ctx: AnyContext) -> str:
    amount = step("compute", compute)
    answer = wait("approve", timeout="2d", say=f"Refund {amount}?")
    step("pay", note, "paid", f"{amount} {answer}", once=True)
    return f"refunded {amount}"
