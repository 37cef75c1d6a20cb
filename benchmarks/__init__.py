"""What durability costs: one module per question, `python -m benchmarks` asks them all."""
