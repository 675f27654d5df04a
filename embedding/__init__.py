"""The embedding service: texts in, vectors out."""
