"""The `clicklab` command: one file per command; `main` only dispatches."""
