"""Draws which known results are computed again to compare."""

import hashlib


def is_sampled(salt: str, key: str, fraction: float) -> bool:
    """Draws a share of all keys, another one for every salt; the same pair is always drawn or never."""
    drawn = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(drawn[:8]) < fraction * 2**64
