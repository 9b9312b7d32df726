"""An online store for Feast: Redis in Feast's own layout, where an older row never replaces a newer one.

Importing this imports Feast, which takes seconds: the service itself never does.
"""

from mltrainer_feature.adapters.feast_online.store import (
    GuardedRedisOnlineStore,
    GuardedRedisOnlineStoreConfig,
)

__all__ = ["GuardedRedisOnlineStore", "GuardedRedisOnlineStoreConfig"]
