"""From history to a directory with a model in it."""
