"""The output of commands: documents, the formats of their parts, and printing to a terminal, a pipe or a program."""
