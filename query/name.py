"""What this service is called in traces, metrics and logs."""

SERVICE = "query"
