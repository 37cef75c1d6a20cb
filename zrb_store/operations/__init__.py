"""What people do to a store by hand: push, pop, mark, fork, pin, delete, prune, move and upgrade."""
