"""What this wing adds: commands for scripts, and what resumes and replays the sessions of `run`."""

from __future__ import annotations

from zrb_store.wings import Command, Wing

_MODULE = f"{__package__}.commands"
_OF_SCRIPTS = f"{__package__}.script_commands"

WING = Wing(
    commands={
        "run": Command(
            _MODULE, "Run a command, or resume it; if it has completed, print its result.", dies_of_interrupt=True
        ),
        "step": Command(
            _OF_SCRIPTS,
            "Run a command of a script once: if it has completed before, print its output again.",
            after="run",
            answer=f"{__package__}.stored_step:answer",
            refusal=125,
            dies_of_interrupt=True,
        ),
        "result": Command(_OF_SCRIPTS, "Give the result of the running task.", after="step"),
        "wait": Command(
            _OF_SCRIPTS,
            "Wait for a value in a script, without a process: print it, or end the task until it is there.",
            after="result",
        ),
        "consume": Command(
            f"{__package__}.consume",
            "Run a command for each value of a queue, and give back values whose command fails.",
            after="pop",
        ),
    },
    command_resumer=f"{_MODULE}:ShellResumer",
)
