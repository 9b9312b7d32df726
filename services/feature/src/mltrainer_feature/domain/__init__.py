"""Rules about bars, feature rows, views, datasets and online reads; values in, values out."""
