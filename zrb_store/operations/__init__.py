"""What people do to a store by hand: fork, mark, remove, prune, move and check."""
