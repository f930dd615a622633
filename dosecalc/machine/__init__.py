"""Machine models: validated data, never code."""
