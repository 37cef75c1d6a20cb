"""Ask for the secret inputs of a session that is started again by its name, where zrb itself takes their defaults."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from zrb_store import settings
from zrb_store.errors import StoreMissing, StoreUnavailable
from zrb_store.plugin import compat
from zrb_store.plugin.attach import process
from zrb_store.plugin.inputs import given_again, given_secrets
from zrb_store.plugin.resumed_inputs import ask
from zrb_store.queries import sessions

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask


def ask_again(task: AnyTask, given: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Return the inputs of a task, with answers for the secret ones that its session was started with.

    Without a terminal nobody is asked, and the start is refused later (`RunSpec.refuse_default_secrets`).

    Args:
        task: The task that the command line starts.
        given: Its inputs as texts, by name.
        name: Name of the session.

    Raises:
        InvalidArgument: The answer is the default, which is not what the session was started with.
    """
    is_asked = sys.stdin is not None and sys.stdin.isatty()
    if not is_asked or not any(map(compat.is_secret, task.inputs)) or compat.declared_by_zrb(task):
        return given
    try:
        session = sessions.find(process.open().database, name)
    except (StoreUnavailable, StoreMissing):
        if settings.value_of("ZRB_STORE_ON_ERROR") == "ignore":  # whoever runs the task says so
            return given
        raise
    if session is None or session.is_finished:
        return given
    missing = given_again(session) - given_secrets(task, given, sys.argv)
    answers = dict(given)
    context = compat.SharedContext(env=dict(os.environ))
    for task_input in task.inputs:
        if task_input.name in missing and compat.is_secret(task_input):
            answers[task_input.name] = ask(task_input, context, was_given=True)
        task_input.update_shared_context(context, str_value=answers.get(task_input.name))
    return answers
