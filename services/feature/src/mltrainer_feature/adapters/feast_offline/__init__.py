"""An offline store for Feast: point-in-time joins over Parquet files, without look-ahead.

Importing this imports Feast, which takes seconds: the service itself never does.
"""

from mltrainer_feature.adapters.feast_offline.store import PolarsOfflineStore, PolarsOfflineStoreConfig

__all__ = ["PolarsOfflineStore", "PolarsOfflineStoreConfig"]
