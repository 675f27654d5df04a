"""The gateways and frameworks that people use today, each in an environment of its own."""
