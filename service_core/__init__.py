"""What the three services share: server, errors on the wire, channels, retries, transports."""
