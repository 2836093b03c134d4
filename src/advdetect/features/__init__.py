"""Features: ``feature(model, images, *, generator, **params) -> dict[str, Tensor]``."""
