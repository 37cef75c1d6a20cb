"""Automatic work while a process uses a store: leases, waiting, reclaiming, output, notifications."""
