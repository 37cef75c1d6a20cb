"""A wing: the user's own tables, in PostgreSQL or SQLite, are changed exactly once (guarantees.md, promise 22).

`steps.py` is `step.transaction`, and `once.py` commits what its function changes, together with the proof that it has
happened: a row of the table `zrb_store_done` (`done.py`), or the completed step, if the user's database is the store's
own (`store.py`), which `places.py` finds out. `database.py` opens transactions and knows what errors mean, `guard.py`
keeps functions from ending them, and `asynchronous.py` runs all this for engines of asyncio.
"""
