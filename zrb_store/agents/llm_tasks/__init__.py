"""zrb's LLM tasks over steps, as the rest of the wing does it for any agent.

`hooks.py` wraps what zrb has, and decides for which task; `agent_run.py` runs one agent, and `planned.py` tells before
what a resume would pay again.
"""
