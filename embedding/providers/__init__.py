"""Embedding providers, one module each, behind the port."""
