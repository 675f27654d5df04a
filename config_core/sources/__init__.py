"""The layers of the resolution table, one module each."""
