"""Kinds of training of a classifier, one module each.

A kind is a class that is made with its settings; an instance is a `loop.Objective`, which the loop
calls for each batch.
"""
