"""Decides what allocations cost and which of them were waste; values in, values out."""
