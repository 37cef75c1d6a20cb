"""What commands show on terminals of four widths: written by `python -m tests.render.screens.make`, read by people."""
