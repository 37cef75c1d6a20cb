"""Changes of a store by hand: push, pop, mark, fork, pin, delete, prune, move and upgrade."""
