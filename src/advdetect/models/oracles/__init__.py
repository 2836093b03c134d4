"""Classifiers of scikit-learn that answer labels only, each computed from plain tensors."""
