"""The model configuration: its layers, how they resolve, and where each value came from."""
