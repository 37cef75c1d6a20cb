"""A wing: pages for a browser: the report of a session, a file by itself, and the live pages of a store."""
