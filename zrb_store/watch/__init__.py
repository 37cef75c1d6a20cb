"""What went wrong, told to somebody: by a command, by a check, and in numbers."""
