"""zrb's LLM tasks over steps: each request to a model and each execution of a tool is a step of the task's attempt.

`hooks.py` wraps what zrb has, and decides for which task. `agent_run.py` runs one agent, `journal.py` keeps its steps,
and `capability.py` is what pydantic-ai calls. `fingerprint.py` finds whether a request equals the stored one,
`declared.py` what its functions are made of, and `changes.py` decides about one that differs. `outcomes.py` and
`prompts.py` write and read what is stored.

Nothing here is imported before an LLM task is registered: pydantic-ai takes seconds to load.
"""
