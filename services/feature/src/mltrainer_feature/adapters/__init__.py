"""Keeps bars, rows, datasets and imports in a SQL database and reads files of bars."""
