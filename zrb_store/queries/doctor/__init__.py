"""What `doctor` reads: rows that violate an invariant, and the texts that must be JSON."""
