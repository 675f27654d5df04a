"""Bulk indexing: many workers, each a query service without a port, over one store."""
