"""Evaluation: numbers with their intervals, from scores, attacks and defences."""
