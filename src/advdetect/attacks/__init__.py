"""Attacks: ``attack(model, images, labels, *, generator, **params) -> AttackResult``."""
