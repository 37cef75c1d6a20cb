"""What commands show on terminals of four widths: `python -m tests.screens.make` writes it, and a person reads it."""
