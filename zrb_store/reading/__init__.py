"""What readers are shown: sessions and their history, values, names. Nothing here writes."""
