"""Decodes what arrives, calls one use case, encodes the answer."""
