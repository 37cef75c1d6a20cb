"""What `export`, `import` and `copy` share: reading, checking and writing sessions as a stream of records."""
