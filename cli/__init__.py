"""The `cascada` command: one module a command."""
