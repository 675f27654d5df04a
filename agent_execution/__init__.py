"""The agent execution service: the entry point, which builds the configuration of a request."""
