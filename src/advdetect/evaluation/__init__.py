"""Evaluation: metrics, bootstrap intervals, tables, figures and the report."""
