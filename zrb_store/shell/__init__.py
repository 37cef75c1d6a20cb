"""Commands as tasks and steps, for scripts: `zrb-store run` and `zrb-store step`."""
