"""Classifiers of other libraries, by their names."""
