"""Benchmarks of what durability costs: one module for each question. `python -m benchmarks` runs all of them."""
