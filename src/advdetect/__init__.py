"""advdetect: a reproducible benchmark pipeline for detectors of adversarial examples.

The package knows nothing of Snakemake. Its methods are pure functions; ``advdetect.steps`` turns
them into commands that read files and write files; the workflow chains those commands.
"""

__version__ = "0.1.0"
