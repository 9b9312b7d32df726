"""What an operator decides about the jobs of a cluster, and the names that everybody must agree on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

NAMED_BY = "mltrainer.dev"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
OWNER_LABEL = f"{NAMED_BY}/owner"
TRAINING_LABEL = f"{NAMED_BY}/training"
TOKEN_LABEL = f"{NAMED_BY}/fencing-token"
IDENTITY_ANNOTATION = f"{NAMED_BY}/attempt"
ORDER_ANNOTATION = f"{NAMED_BY}/order"
VERDICT_ANNOTATION = f"{NAMED_BY}/verdict"
MESSAGE_ANNOTATION = f"{NAMED_BY}/verdict-message"
HOSTS_ANNOTATION = f"{NAMED_BY}/hosts"
PLACEMENT_GATE = f"{NAMED_BY}/placement"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
HOSTNAME_LABEL = "kubernetes.io/hostname"
ZONE_LABEL = "topology.kubernetes.io/zone"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
MANAGER = "mltrainer-trainer"
CONTAINER = "attempt"
ATTEMPT_PATH = "/mltrainer/attempt"


@dataclass(frozen=True, slots=True)
class NodeLabels:
    """How the nodes of a cluster say what they are.

    Attributes:
        gpu_resource: Name under which they offer GPUs.
        gpu_type: Label with the model of the GPUs.
        spot: Label that marks interruptible nodes.
        spot_value: Its value on them.
    """

    gpu_resource: str = "nvidia.com/gpu"
    gpu_type: str = "nvidia.com/gpu.product"
    spot: str = "karpenter.sh/capacity-type"
    spot_value: str = "spot"


@dataclass(frozen=True, slots=True)
class JobProfile:
    """What all jobs of a trainer share.

    Attributes:
        owner: Tells the jobs of this platform from those of others in the namespace.
        program: What the container executes; the directory of the attempt follows as the last argument.
        node_prefix: What the names of our nodes begin with, before the hostname; ends with a dot.
        queue: Kueue's local queue, where `{queue}` stands for the queue of the training; none where empty.
        priority_class: Kueue's workload priority class; none where empty.
        pod: Fields of the pod that an operator adds: lists are appended, mappings are joined.
        start_timeout_s: How long a worker may wait for a node or an image before the attempt is given up.
        longest_s: No job lasts longer.
        keep_s: How long the cluster keeps a finished job that nobody has discarded.
        lost_after_s: How long a pod stays on a node that is not heard of.
    """

    namespace: str
    image: str
    program: tuple[str, ...]
    environment: Mapping[str, str]
    owner: str = "mltrainer"
    node_prefix: str = "nodes/kubernetes."
    queue: str = ""
    priority_class: str = ""
    image_pull_policy: str = "IfNotPresent"
    labels: NodeLabels = field(default_factory=NodeLabels)
    pod: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    user_id: int = 65532
    start_timeout_s: float = 300.0
    longest_s: int = 7 * 86_400
    keep_s: int = 86_400
    grace_s: int = 10
    lost_after_s: int = 30
    scratch_bytes: int = 1 << 30

    @property
    def selector(self) -> str:
        """Finds the jobs and pods of this trainer."""
        return f"{MANAGED_BY_LABEL}={MANAGER},{OWNER_LABEL}={self.owner}"
