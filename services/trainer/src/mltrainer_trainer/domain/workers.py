"""What tells the workers of a gang apart, the same on every kind of machine."""

WORKER_INDEX = "MLTRAINER_WORKER_INDEX"
"""Environment variable with the index of a worker, from 0."""

WORKER_COUNT = "MLTRAINER_WORKER_COUNT"
"""Environment variable with the number of workers."""

WORKER_NODE = "MLTRAINER_WORKER_NODE"
"""Environment variable with the node of a worker, as placements name it."""
