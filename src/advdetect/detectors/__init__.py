"""Detectors: factories that return a scikit-learn estimator."""
