"""The program behind `make bench`: it answers every question, prints the answers and writes RESULTS.md.

Usage: python -m benchmarks [--quick] [NAME ...]. With a name or --quick, the answers are only printed. A full run also
writes the short page (summary.py).
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from types import ModuleType

from benchmarks import summary
from benchmarks.harness import Effort
from benchmarks.report import Answer, conditions, page

QUESTIONS = (
    "small_values",
    "reading",
    "bulk",
    "encoding",
    "large_values",
    "constraints",
    "page_size",
    "history",
    "long_queues",
    "steps",
    "own_tables",
    "give_back",
    "processes",
    "on_postgres",
    "waiting",
    "shared_queues",
    "crowd",
    "readers",
    "start_up",
    "scripts",
    "under_zrb",
    "output",
    "inputs_read",
    "traces",
    "agents",
    "size",
    "memory",
)


def ask(module: ModuleType, effort: Effort) -> tuple[str, str, Answer]:
    """Run one module, and return its question, the explanation of the question, and the answer."""
    question, _, prose = (module.__doc__ or "").strip().partition("\n\n")
    answer: Answer = module.run(effort)
    return question, prose.strip(), answer


def main(arguments: list[str]) -> None:
    """Answer the named questions, or all of them."""
    for name in [name for name in os.environ if name.startswith("ZRB_")]:
        del os.environ[name]  # the developer's own settings must not affect the figures
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a package that pip installed has its bytecode
    names = [argument for argument in arguments if argument != "--quick"]
    effort = Effort(quick="--quick" in arguments)
    # All at once: what lacks a package says so now, and not after twenty minutes.
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names or QUESTIONS}
    answers = {}
    load, began = os.getloadavg()[0], time.monotonic()
    for name, module in modules.items():
        started = time.monotonic()
        question, prose, answer = ask(module, effort)
        answers[question] = (prose, answer)
        print("\n".join(["", f"## {question}", "", *answer.lines, ""]), flush=True)
        print(*(" | ".join(goal.row()) for goal in answer.goals), sep="\n")
        print(f"({name}: {time.monotonic() - started:.0f} s)", flush=True)
    loads = f"load average {load:.1f} at the beginning and {os.getloadavg()[0]:.1f} at the end"
    text = page(answers, [*conditions(), f"- {loads}; it took {time.monotonic() - began:.0f} s"])
    if names or effort.quick:
        print(f"\n{summary.RESULTS.name} is not written: only a full run writes it.")
    else:
        summary.RESULTS.write_text(text, encoding="utf-8")
        summary.write()
        print(f"\n{summary.RESULTS} and {summary.PAGE} are written.")


if __name__ == "__main__":
    main(sys.argv[1:])
