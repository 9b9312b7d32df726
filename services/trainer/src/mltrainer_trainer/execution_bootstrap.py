"""Puts the execution backend together that the settings ask for."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mltrainer_common.service import Loop, ServiceContext
from mltrainer_common.settings import PlatformSettings

from mltrainer_trainer.adapters.machine import MachineProbe
from mltrainer_trainer.adapters.process_backend import ProcessBackend
from mltrainer_trainer.application.ports import ExecutionBackend, NodeProbe
from mltrainer_trainer.limit_settings import LimitSettings
from mltrainer_trainer.settings import BackendKind, TrainerSettings
from mltrainer_trainer.wire.order import encode_order


@dataclass(frozen=True, slots=True)
class Execution:
    """Where attempts execute.

    Attributes:
        trainer: Name of the release; one per kind of backend.
        nodes: Name of the node, or how the names of its nodes begin, up to a dot.
        background: What must go on for the backend to see anything.
        measures_usage: Whether the backend sees what attempts use; where not, they say so themselves.
    """

    trainer: str
    nodes: str
    backend: ExecutionBackend
    probe: NodeProbe
    background: Mapping[str, Loop] = field(default_factory=dict)
    measures_usage: bool = True


async def open_execution(
    context: ServiceContext, settings: TrainerSettings, wakeup: Callable[[], None]
) -> Execution:
    """Opens the backend, which calls `wakeup` at news; its connections are closed with the service."""
    if settings.backend is BackendKind.PROCESS:
        return _on_this_machine(context.platform, settings)
    from mltrainer_trainer.kubernetes_bootstrap import open_cluster  # imports the client's thousand models

    opened = await open_cluster(context, settings, stated_settings(context.platform), wakeup)
    return Execution(
        "trainers/kubernetes",
        opened.nodes,
        opened.backend,
        opened.probe,
        opened.background,
        measures_usage=False,
    )


def _on_this_machine(platform: PlatformSettings, settings: TrainerSettings) -> Execution:
    node = f"nodes/{settings.node or f'local-{platform.instance}'}"
    backend = ProcessBackend(
        platform.data_directory / "trainer" / "attempts",
        {**os.environ, **stated_settings(platform), "PYTHONUNBUFFERED": "1"},
        encode_order,
        gpus=settings.gpus,
        gpu_type=settings.gpu_type,
        output_limit_bytes=settings.output_limit_bytes,
        scratch_limit_bytes=LimitSettings().scratch_bytes,
    )
    probe = MachineProbe(
        node=node,
        cpus=settings.cpus,
        memory_bytes=settings.memory_bytes,
        gpus=settings.gpus,
        gpu_type=settings.gpu_type,
        zone=settings.zone,
        spot=settings.spot,
    )
    return Execution("trainers/process", node, backend, probe)


def stated_settings(platform: PlatformSettings) -> dict[str, str]:
    """Returns the platform's settings as an environment that states all of them, wherever it is read."""
    prefix = platform.model_config.get("env_prefix", "")
    paths = {name: value.absolute() for name, value in platform if isinstance(value, Path)}
    stated = platform.model_dump(mode="json", exclude={"grpc_port"}) | paths
    return {f"{prefix}{name}".upper(): str(value) for name, value in stated.items() if value is not None}
