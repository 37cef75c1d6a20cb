"""What happens by itself while a process works on a store: leases, waiting, reclaiming, output, telling of failures."""
