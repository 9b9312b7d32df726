"""Executes each attempt as a job of a cluster."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mltrainer_trainer.adapters.kubernetes import profile as names
from mltrainer_trainer.adapters.kubernetes.api import (
    AlreadyExistsError,
    ClusterApi,
    Collection,
    Object,
    RefusedError,
    UnavailableError,
)
from mltrainer_trainer.adapters.kubernetes.job import identity, job_name, release, render_job, training_label
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile
from mltrainer_trainer.adapters.kubernetes.reflector import Reflector
from mltrainer_trainer.adapters.kubernetes.state import Verdict, heard_nodes, is_finished, judge, waited_s
from mltrainer_trainer.application.ports import Clock, Launch, LaunchError, StaleLaunchError
from mltrainer_trainer.domain.attempt import Attempt, AttemptState, Placement, Usage
from mltrainer_trainer.domain.execution import Absent, Ended, EndReason, Observation

NODES = Collection("/api/v1/nodes")
_JOB_OF_POD = "batch.kubernetes.io/job-name"
_REMEMBERED_PODS = 10_000
_LOG_LINES = 200


class ClusterView:
    """What is known of the cluster without asking: our jobs and pods, all nodes, and pods that are gone."""

    def __init__(self, api: ClusterApi, profile: JobProfile, changed: Callable[[], None]) -> None:
        paths = _Paths(profile.namespace)
        self.jobs = Reflector(api, Collection(paths.jobs, profile.selector), changed)
        self.pods = Reflector(api, Collection(paths.pods, profile.selector), changed, self._remember)
        self.nodes = Reflector(api, NODES, changed)
        self._by_job: dict[str, dict[str, Object]] = {}
        self._gone: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def is_complete(self) -> bool:
        """Whether everything was seen at least once."""
        return self.jobs.is_complete and self.pods.is_complete and self.nodes.is_complete

    def pods_of(self, job: Object) -> list[Object]:
        """Returns the pods of a job, also those that are gone, as they were last seen."""
        return list(self._by_job.get(job["metadata"]["uid"], {}).values())

    def _remember(self, found: Object, *, is_gone: bool) -> None:
        job, name = _owner_of(found), found["metadata"]["name"]
        self._by_job.setdefault(job, {})[name] = found
        if is_gone:
            self._gone[job, name] = None
        while len(self._gone) > _REMEMBERED_PODS:
            (job, name), _ = self._gone.popitem(last=False)
            self._by_job[job].pop(name, None)
            if not self._by_job[job]:
                del self._by_job[job]


@dataclass(frozen=True, slots=True)
class KubernetesBackend:
    """Creates a job per attempt, and asks the API server only for what it has not learned by watching."""

    api: ClusterApi
    view: ClusterView
    profile: JobProfile
    encode_order: Callable[[Launch], bytes]
    clock: Clock
    _paths: "_Paths" = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_paths", _Paths(self.profile.namespace))

    async def start(self, launch: Launch) -> Observation:
        """Creates the job of an attempt; one that is there already is returned instead."""
        placement = launch.placement
        job = await self.api.get(self._path(placement))
        if job is None:
            await self._refuse_stale(placement)
            job = await self._create(launch)
        if job["metadata"]["annotations"].get(names.IDENTITY_ANNOTATION) != identity(placement):
            raise LaunchError(f"the job {job['metadata']['name']} serves another attempt")
        return await self._judge(job)

    async def _create(self, launch: Launch) -> Object:
        body = render_job(launch.placement, self.encode_order(launch), self.profile)
        try:
            return await self.api.create(self._paths.jobs, body)
        except AlreadyExistsError as error:
            job = await self.api.get(self._path(launch.placement))
            if job is None:
                raise UnavailableError("a job was removed in this moment") from error
            return job
        except RefusedError as error:
            raise LaunchError(f"the cluster refuses the job: {error}") from error

    async def _refuse_stale(self, placement: Placement) -> None:
        selector = f"{self.profile.selector},{names.TRAINING_LABEL}={training_label(placement.training)}"
        jobs = await self._list(Collection(self._paths.jobs, selector))
        tokens = [int(job["metadata"]["labels"][names.TOKEN_LABEL]) for job in jobs]
        if max(tokens, default=0) > placement.fencing_token:
            raise StaleLaunchError(f"a later attempt of {placement.training} was started before")

    async def observe(self, attempt: Attempt) -> Observation:
        """Tells what became of an attempt; one that cannot go on is ended."""
        if not self.view.is_complete:
            raise UnavailableError("the cluster was not seen yet")
        job = await self._job(attempt)
        if job is None:
            return Absent()
        if attempt.state is AttemptState.EXECUTING and job["spec"].get("suspend"):
            verdict = Verdict(EndReason.EVICTED, "its queue has taken its place back")
            return await self._end(job, verdict)
        return await self._judge(job)

    async def _judge(self, job: Object) -> Observation:
        await self._release(job)
        judged = self._look(job, self.view.pods_of(job), self.view.nodes)
        if not isinstance(judged, Verdict):
            return judged
        # A watch may lag behind: nothing is ended on its word alone.
        pods = await self._list(Collection(self._paths.pods, f"{_JOB_OF_POD}={job['metadata']['name']}"))
        confirmed = self._look(job, pods, await self._list(NODES))
        return await self._end(job, confirmed) if isinstance(confirmed, Verdict) else confirmed

    async def _release(self, job: Object) -> None:
        """Lets workers begin that were held back, each on its own host; doing so again changes nothing."""
        hosts = job["metadata"]["annotations"].get(names.HOSTS_ANNOTATION, "").split(",")
        for pod in self.view.pods_of(job):
            if (change := release(pod, hosts)) is not None:
                await self.api.patch(f"{self._paths.pods}/{pod['metadata']['name']}", change)

    def _look(self, job: Object, pods: Sequence[Object], nodes: Iterable[Object]) -> Observation | Verdict:
        waited = waited_s(job, self.clock.now())
        return judge(job, pods, heard_nodes(nodes), waited, self.profile.start_timeout_s)

    async def _list(self, collection: Collection) -> list[Object]:
        found, rest = list[Object](), ""
        while True:
            page = await self.api.list_page(collection, rest)
            found += page.items
            if not page.rest:
                return found
            rest = page.rest

    async def _end(self, job: Object, verdict: Verdict) -> Ended:
        await self._condemn(job, verdict)
        if verdict.reason is EndReason.NODE_LOST:
            await self._delete_pods(job, grace_s=0)  # nobody on the node could confirm their end
        return Ended(verdict.reason, message=verdict.message, execution_id=job["metadata"]["uid"])

    async def _condemn(self, job: Object, verdict: Verdict) -> None:
        """Has the cluster end a job for good; the job itself remembers why.

        One that its queue holds back has no pods, and no time passes for it: it is deleted.
        """
        path = f"{self._paths.jobs}/{job['metadata']['name']}"
        if job["spec"].get("suspend"):
            await self.api.delete(path)
            return
        annotations = {
            names.VERDICT_ANNOTATION: verdict.reason.value,
            names.MESSAGE_ANNOTATION: verdict.message[:1000],
        }
        body = {"metadata": {"annotations": annotations}, "spec": {"activeDeadlineSeconds": 0}}
        await self.api.patch(path, body)

    async def stop(self, attempt: Attempt, *, force: bool) -> None:
        """Has the cluster end the pods of an attempt, with its grace or at once."""
        job = await self._job(attempt)
        if job is None or is_finished(job):
            return
        if names.VERDICT_ANNOTATION not in job["metadata"].get("annotations", {}):
            await self._condemn(job, Verdict(EndReason.CANCELLED, ""))
        if force:
            await self._delete_pods(job, grace_s=0)

    async def _delete_pods(self, job: Object, grace_s: int) -> None:
        selector = f"{_JOB_OF_POD}={job['metadata']['name']}"
        await self.api.delete(self._paths.pods, selector=selector, grace_s=grace_s)

    async def measure(self, attempt: Attempt) -> Usage | None:  # noqa: ARG002 - the port's
        """Returns nothing: the API server does not know what a pod uses; its limits are the kernel's."""
        return None

    async def read_output(self, attempt: Attempt, limit_bytes: int) -> bytes:
        """Returns the end of what the first worker has written; empty where nothing is left."""
        job = await self._job(attempt)
        pods = self.view.pods_of(job) if job is not None else []
        first = [pod for pod in pods if pod["metadata"].get("labels", {}).get(names.INDEX_LABEL, "0") == "0"]
        if not first:
            return b""
        output = await self.api.read_log(f"{self._paths.pods}/{first[0]['metadata']['name']}", _LOG_LINES)
        return output[-limit_bytes:]

    async def discard(self, attempt: Attempt) -> None:
        """Deletes the job of an ended attempt, and its pods with it."""
        await self.api.delete(self._path(attempt.placement))

    async def _job(self, attempt: Attempt) -> Object | None:
        known = self.view.jobs.get(job_name(attempt.placement, self.profile.owner))
        job = known or await self.api.get(self._path(attempt.placement))
        if job is not None and attempt.execution_id not in {None, job["metadata"]["uid"]}:
            return None  # another job has taken its name
        return job

    def _path(self, placement: Placement) -> str:
        return f"{self._paths.jobs}/{job_name(placement, self.profile.owner)}"


@dataclass(frozen=True, slots=True)
class _Paths:
    namespace: str

    @property
    def jobs(self) -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"


def _owner_of(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))
