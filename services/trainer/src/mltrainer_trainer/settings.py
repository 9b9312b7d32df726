"""Settings of the trainer."""

from enum import StrEnum
from pathlib import Path

from mltrainer_common.settings import PlatformSettings
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class BackendKind(StrEnum):
    """Where attempts execute."""

    PROCESS = "process"
    KUBERNETES = "kubernetes"


class KubernetesSettings(BaseSettings):
    """Settings of the backend `kubernetes`, prefix `MLTRAINER_TRAINER_KUBERNETES_`.

    Attributes:
        kubeconfig: Credentials; those of this pod's service account where unset.
        context: Context of the kubeconfig; its current one where unset.
        cluster: Name of the cluster; the names of its nodes begin with it.
        namespace: Where the jobs are.
        image: Image of the attempts, with the code of this trainer.
        image_pull_policy: As Kubernetes has it.
        owner: Tells these jobs from those of other platforms in the namespace.
        queue: Kueue's local queue; `{queue}` stands for that of the training. Without it, jobs begin at once.
        priority_class: Kueue's workload priority class.
        environment: Variables of the pods, as JSON, beside the platform's settings.
        pod_file: YAML with fields that are added to every pod, such as volumes.
        gpu_resource: Resource under which nodes offer GPUs.
        gpu_type_label: Label of nodes with the model of their GPUs.
        spot_label: Label of nodes that marks interruptible ones, `key=value`.
        start_timeout_s: How long a worker may wait for a node or an image.
        longest_s: No job lasts longer.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_TRAINER_KUBERNETES_", frozen=True, extra="ignore")

    kubeconfig: Path | None = None
    context: str | None = None
    cluster: str = Field(default="kubernetes", pattern=r"^[a-z0-9][a-z0-9\-]{0,61}$")
    namespace: str = "mltrainer"
    image: str = "mltrainer:latest"
    image_pull_policy: str = Field(default="IfNotPresent", pattern="^(Always|IfNotPresent|Never)$")
    owner: str = Field(default="mltrainer", pattern=r"^[a-z0-9][a-z0-9\-]{0,61}$")
    queue: str = ""
    priority_class: str = ""
    environment: dict[str, str] = Field(default_factory=dict)
    pod_file: Path | None = None
    gpu_resource: str = "nvidia.com/gpu"
    gpu_type_label: str = "nvidia.com/gpu.product"
    spot_label: str = Field(default="karpenter.sh/capacity-type=spot", pattern=r"^[^=]+=[^=]+$")
    start_timeout_s: float = Field(default=300.0, gt=0)
    longest_s: int = Field(default=7 * 86_400, gt=0)


class TrainerSettings(BaseSettings):
    """Settings of the trainer, prefix `MLTRAINER_TRAINER_`.

    Attributes:
        backend: Where attempts execute: `process` on this machine, `kubernetes` as jobs of a cluster.
        kubernetes: Settings of the backend of that name.
        database_url: SQLite file of the data directory by default.
        node: Id of the node; `local-<instance>` by default.
        cpus: Cores offered to attempts; 0 means all.
        memory_bytes: Memory offered to attempts; 0 means three quarters of the machine's.
        gpus: GPUs offered.
        gpu_type: Their model.
        zone: Zone for prices.
        spot: Whether the machine is interruptible.
        renew_interval_s: Between renewals of leases.
        report_interval_s: Between node reports and between usage samples.
        supervise_interval_s: Between looks at the processes, where nothing wakes the trainer before.
        retraining_interval_s: Between looks at the calendar of retrainings and at their challengers.
        grace_s: From asking a process to end to ending it.
        keep_attempts_s: How long is kept what ended attempts have left.
        output_limit_bytes: Output of an attempt that is kept on this machine.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_TRAINER_", frozen=True, extra="ignore")

    backend: BackendKind = BackendKind.PROCESS
    kubernetes: KubernetesSettings = Field(default_factory=KubernetesSettings)
    database_url: str | None = None
    node: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9\-]{0,61}$")
    cpus: float = Field(default=0.0, ge=0)
    memory_bytes: int = Field(default=0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    gpu_type: str = ""
    zone: str = ""
    spot: bool = False
    renew_interval_s: float = Field(default=3.0, gt=0)
    report_interval_s: float = Field(default=2.0, gt=0)
    supervise_interval_s: float = Field(default=0.5, gt=0)
    retraining_interval_s: float = Field(default=2.0, gt=0)
    grace_s: float = Field(default=10.0, gt=0)
    keep_attempts_s: float = Field(default=86_400.0, gt=0)
    output_limit_bytes: int = Field(default=16 << 20, ge=1024)


def artifact_url(platform: PlatformSettings) -> str:
    """Names the content store that feature, registry, serving and the attempts share."""
    return str(getattr(platform, "artifact_url", None) or platform.data_directory / "artifacts")
