"""Data sets: one module each, ``load(**params) -> dict[str, ImageSplit]``."""
