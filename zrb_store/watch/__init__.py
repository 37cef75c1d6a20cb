"""A wing: what went wrong is told, by a command of the user, by `check`, and in numbers (`stats`)."""
