"""Where calls, events and background work enter."""
