"""Consumers of values: run a command for each one."""
