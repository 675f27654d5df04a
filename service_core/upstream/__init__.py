"""What chat and embedding adapters share: clients, wire errors, attempts."""
