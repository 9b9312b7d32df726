"""Joins as of time over Parquet files, for any caller: data in, data out, without Feast."""
