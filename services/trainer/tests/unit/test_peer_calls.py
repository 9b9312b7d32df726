"""An attempt waits for peers that may come back, and takes a refusal as it is."""

import pytest
from grpc import StatusCode
from mltrainer_common.errors import RpcFailure
from mltrainer_trainer.adapters.peer_calls import call_patiently
from mltrainer_trainer.domain.plan import AttemptFailedError


class Peer:
    """Fails as told, then answers."""

    def __init__(self, *failures: RpcFailure) -> None:
        self.failures = list(failures)
        self.waits: list[float] = []

    async def call(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


async def test_a_peer_that_is_away_is_asked_until_it_answers() -> None:
    peer = Peer(*[RpcFailure(StatusCode.UNAVAILABLE, "gone")] * 50)

    answer = await call_patiently(peer.call, peer.sleep)

    assert answer == "answer"
    assert len(peer.waits) == 50
    assert max(peer.waits) <= 2.0


@pytest.mark.parametrize(
    ("failure", "reason", "retryable"),
    [
        pytest.param(
            RpcFailure(StatusCode.INVALID_ARGUMENT, "no such view", reason="UNKNOWN_FEATURE_VIEW"),
            "UNKNOWN_FEATURE_VIEW",
            False,
            id="a refusal keeps its reason",
        ),
        pytest.param(
            RpcFailure(StatusCode.NOT_FOUND, "gone", reason="DATASET_NOT_FOUND"),
            "DATASET_NOT_FOUND",
            True,
            id="what has vanished can be made again",
        ),
        pytest.param(
            RpcFailure(StatusCode.RESOURCE_EXHAUSTED, "too large", reason="ARTIFACT_TOO_LARGE"),
            "ARTIFACT_TOO_LARGE",
            False,
            id="a quota is a refusal",
        ),
    ],
)
async def test_a_refusal_ends_the_attempt(failure: RpcFailure, reason: str, retryable: bool) -> None:
    with pytest.raises(AttemptFailedError) as refusal:
        await call_patiently(Peer(failure).call)

    assert (refusal.value.reason, refusal.value.retryable) == (reason, retryable)


async def test_a_peer_that_fails_again_and_again_ends_the_attempt_for_now() -> None:
    peer = Peer(*[RpcFailure(StatusCode.INTERNAL, "defect")] * 20)

    with pytest.raises(AttemptFailedError) as refusal:
        await call_patiently(peer.call, peer.sleep)

    assert (refusal.value.reason, refusal.value.retryable) == ("PEER_FAILED", True)
