"""Kinds of training of a classifier, one module each."""
