"""The steps of an agent while it runs.

`capability.py` is what pydantic-ai calls, `journal.py` keeps the steps of one agent, and `decisions.py` what was
decided about calls and the budget. `fingerprint.py` finds whether a request equals the stored one, by the digests of
`digests.py`, and `changes.py` decides about one that differs. `stored.py` writes and reads what is stored.
"""
