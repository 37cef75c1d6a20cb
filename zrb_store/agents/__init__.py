"""Agents of pydantic-ai over steps: each request to a model and each execution of a tool is a step of an attempt.

`durable.py` is for a user's own agents; zrb's LLM tasks have theirs by plugin/agents/. `capability.py` is what
pydantic-ai calls, `journal.py` keeps the steps of one agent, and `deferred.py` what was decided about waiting calls.
`fingerprint.py` finds whether a request equals the stored one, by the digests of `digests.py`, and `changes.py` decides
about one that differs. `outcomes.py` and `prompts.py` write and read what is stored.

Nothing here loads pydantic-ai before `durable` is called, or an LLM task is registered: that takes seconds.
"""

from zrb_store.agents.durable import durable

__all__ = ["durable"]
