"""Attacks of other libraries, by name: one adapter per library."""
