"""Fisher information of a classifier's output, with respect to its weights and its input."""
