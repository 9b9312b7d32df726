"""Puts the process of an attempt together."""

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceStub
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer.trainer.v1.trainer_service_pb2_grpc import AttemptReportServiceStub, TrainerServiceStub
from mltrainer_common.authorization import Role
from mltrainer_common.content_store import ContentStore
from mltrainer_common.errors import StartupError
from mltrainer_common.logs import configured_logs
from mltrainer_common.rpc_call import Caller
from mltrainer_common.rpc_client import ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.service import make_resolver
from mltrainer_common.settings import Environment, PlatformSettings
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_common.traces import tracer_provider, use_traceparent
from mltrainer_models.key_folder import KeyFolder, KeyFolderError
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from mltrainer_trainer.adapters.artifact_upload import ArtifactSeal, RpcArtifactUpload
from mltrainer_trainer.adapters.attempt_directory import AttemptDirectory
from mltrainer_trainer.adapters.code_identity import code_identity, sources_file
from mltrainer_trainer.adapters.journal import Journals, StepContents
from mltrainer_trainer.adapters.model_release import plan_models
from mltrainer_trainer.adapters.peers import RpcAttemptReports, RpcDatasetSource, RpcStudyLedger
from mltrainer_trainer.adapters.process_limits import limit_process
from mltrainer_trainer.adapters.processes import tree_cpu_seconds
from mltrainer_trainer.adapters.training_executor import ThreadTrainingExecutor
from mltrainer_trainer.adapters.worker_account import WorkerAccount
from mltrainer_trainer.application.execute_attempt import ExecuteAttemptHandler
from mltrainer_trainer.domain.plan import AttemptPlan
from mltrainer_trainer.entrypoints.attempt_process import AttemptProcess, Lease, StageLog, StopSignals
from mltrainer_trainer.limit_settings import LimitSettings
from mltrainer_trainer.reuse_settings import make_recall
from mltrainer_trainer.settings import artifact_url
from mltrainer_trainer.signing_settings import SigningSettings
from mltrainer_trainer.wire.order import decode_order

_SLUG = "trainer"


def run_attempt(directory: AttemptDirectory) -> int:
    """Executes the order of a directory and returns the exit code."""
    plan = decode_order(directory.order())
    limits, platform = LimitSettings(), PlatformSettings()
    limit_process(cpu_seconds=plan.cpu_seconds, memory_bytes=plan.memory_bytes, file_bytes=limits.file_bytes)
    with configured_logs(_SLUG, platform.instance, platform.log_level):
        # Not `asyncio.run`, which would wait at its end for the thread that still computes.
        try:
            return asyncio.new_event_loop().run_until_complete(_run(plan, platform))
        except StartupError as error:
            sys.stderr.write(f"mltrainer attempt: {error}\n")
            return 2


async def _run(plan: AttemptPlan, platform: PlatformSettings) -> int:
    async with AsyncExitStack() as stack:
        provider = tracer_provider(
            Resource(
                {
                    "service.name": _SLUG,
                    "service.namespace": "mltrainer",
                    "service.instance.id": platform.instance,
                    "process.pid": os.getpid(),
                }
            ),
            platform.trace_ratio,
            file=_traces_file(platform),
            otlp_endpoint=platform.otlp_endpoint,
        )
        stack.callback(provider.shutdown)
        tracer = provider.get_tracer("mltrainer")
        peers = Peers(platform, tracer, stack, plan.identity.name)
        process = _assemble(peers, Lease(plan.lease_s), plan)
        with (
            use_traceparent(plan.traceparent),
            tracer.start_as_current_span(
                "attempt", attributes={"mltrainer.attempt": plan.identity.name}
            ) as span,
        ):
            exit_code = await process.run(plan)
            span.set_attribute("mltrainer.exit_code", exit_code)
        return exit_code


def _traces_file(platform: PlatformSettings) -> Path | None:
    if platform.environment is not Environment.DEVELOPMENT:
        return None
    return platform.data_directory / "traces" / f"{_SLUG}.jsonl"


class Peers:
    """Makes channels to other services, under the identity of the attempt."""

    def __init__(self, platform: PlatformSettings, tracer: Tracer, stack: AsyncExitStack, name: str) -> None:
        self.platform = platform
        self._stack = stack
        self._resolver = make_resolver(platform, stack)
        issuer = TokenIssuer(load_or_create_token_key(platform.key_file), name, [Role.SERVICE])
        self._caller = Caller(issuer, tracer, ClientMetrics(CollectorRegistry()))

    def channel(self, slug: str) -> ServiceChannel:
        """Opens a channel that is closed with the process."""
        channel = ServiceChannel(slug, self._resolver, self._caller)
        self._stack.push_async_callback(channel.close)
        return channel


def _assemble(peers: Peers, lease: Lease, plan: AttemptPlan) -> AttemptProcess:
    cancelled, stages, account = threading.Event(), StageLog(), WorkerAccount()
    stall_s = LimitSettings().stall_s
    code = code_identity(sources_file(peers.platform.data_directory))
    trainer = peers.channel("trainer")
    reports = RpcAttemptReports(AttemptReportServiceStub(trainer))
    ledger = RpcStudyLedger(TrainerServiceStub(trainer))
    store = ContentStore(artifact_url(peers.platform))
    journals = Journals(reports, StepContents(store))
    recall = None if plan.recompute else make_recall(peers.platform, code, plan.identity.name)
    execute = ExecuteAttemptHandler(
        datasets=RpcDatasetSource(FeatureServiceStub(peers.channel("feature")), store),
        execute=ThreadTrainingExecutor(
            stages,
            cancelled.is_set,
            journals.open,
            ledger.prior_trials,
            recall,
            account,
            # Before the attempt is ended for the same reason.
            stall_s / 2,
        ),
        upload=RpcArtifactUpload(
            RegistryServiceStub(peers.channel("registry")), make_seal(peers.platform, code.environment_digest)
        ),
        reports=reports,
        stages=stages,
        code=code,
        select_models=plan_models,
    )
    return AttemptProcess(
        execute=execute,
        reports=reports,
        lease=lease,
        stages=stages,
        signals=_signals(),
        cancelled=cancelled,
        used_cpu_seconds=tree_cpu_seconds,
        stall_s=stall_s,
        checkpoint=journals.checkpoint,
        spent_cpu_seconds=lambda: time.process_time() + account.cpu_seconds(),
    )


def make_seal(platform: PlatformSettings, environment_digest: str) -> ArtifactSeal:
    """Puts together what vouches for a model.

    Raises:
        StartupError: Models shall be signed, and there is no key to do so.
    """
    settings = SigningSettings()
    private_key = b""
    if settings.sign:
        from mltrainer_models.signatures import create_key, public_key

        folder = KeyFolder(settings.folder(platform))
        try:
            if platform.environment is Environment.DEVELOPMENT:
                folder.create_missing(create_key, public_key)
            private_key = folder.private_key()
        except KeyFolderError as error:
            raise StartupError(str(error)) from error
    return ArtifactSeal(private_key, environment_digest, platform.data_directory / _SLUG / "sbom")


def _signals() -> StopSignals:
    loop, signals = asyncio.get_running_loop(), StopSignals()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.terminated.set)
    loop.add_signal_handler(signal.SIGXCPU, signals.budget_used.set)
    return signals
