"""Writes protobuf's wire format, for answers that are put together from parts that are encoded already."""

LENGTHS = tuple(bytes([length]) for length in range(128))
"""Lengths below 128 take one byte."""


def varint(number: int) -> bytes:
    """Returns a number that is not negative."""
    if number < 128:
        return LENGTHS[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """Returns a field that holds bytes: a message, a text, packed numbers."""
    return varint(number << 3 | 2) + varint(len(content)) + content
