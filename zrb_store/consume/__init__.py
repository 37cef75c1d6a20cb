"""What consumers do with values: run a command for each one."""
