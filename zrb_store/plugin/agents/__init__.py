"""zrb's LLM tasks over steps: each request to a model and each execution of a tool is a step of the task's attempt.

`hooks.py` wraps what zrb has, `switches.py` decides for which task, `agent_run.py` runs one agent, and `journal.py`
keeps its steps. `capability.py` and `deferred.py` are what pydantic-ai calls, `threads.py` waits for tools in threads.
`fingerprint.py` tells whether a request is the same as the stored one, `outcomes.py`, `approvals.py` and `prompts.py`
write and read what is stored.

Nothing here is imported before an LLM task is registered: pydantic-ai takes seconds to load.
"""
