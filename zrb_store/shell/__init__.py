"""A wing: commands that are run for each value of a queue, as a task, and as a step (`consume`, `run` and `step`)."""
