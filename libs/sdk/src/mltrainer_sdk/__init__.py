"""The typed client of a trading app or producer."""
