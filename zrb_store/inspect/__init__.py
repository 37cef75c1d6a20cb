"""Data for readers: sessions, values, names, and the findings of `doctor`. Nothing here writes to the store."""
