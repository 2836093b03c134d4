"""Seeds of named purposes."""

import hashlib


def derive_seed(seed: int, *names: str) -> int:
    """Return the seed of a named purpose, so that adding a method never changes another's numbers.

    Args:
        seed: The run's seed, at least 0.
        names: What the numbers are for, for example ``("attack", "otcm")``.

    Returns:
        An integer in [0, 2**63), the same on every machine.
    """
    text = "\x1f".join([str(seed), *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
