"""Defences: detectors that refuse an image, and a reformer that mends those that pass."""
