"""A wing: one attempt runs again, alone, in a scratch store where everything is as it was before it began."""
