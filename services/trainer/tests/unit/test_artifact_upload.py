"""An upload carries what vouches for the model, and goes on where it was cut."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from mltrainer.registry.v1.registry_service_pb2 import GetUploadResponse, UploadArtifactResponse
from mltrainer_common.errors import RpcFailure, StartupError
from mltrainer_common.settings import Environment, PlatformSettings
from mltrainer_models import SBOM_FILE, SIGNATURE_FILE, ModelArtifact
from mltrainer_models.signatures import create_key, public_key, verify_signature
from mltrainer_trainer.adapters.artifact_upload import ArtifactSeal, RpcArtifactUpload, missing_chunks
from mltrainer_trainer.attempt_bootstrap import make_seal
from mltrainer_trainer.domain.attempt import AttemptIdentity

MIB = 1 << 20
CONTENT = b"a" * (2 * MIB) + b"b" * MIB + b"c"
DIGEST = "ab" * 32


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def held(*parts: bytes, complete: bool = False, part_bytes: int = 2 * MIB) -> GetUploadResponse:
    response = GetUploadResponse(part_bytes=part_bytes)
    file = response.files.add(complete=complete)
    for number, part in enumerate(parts):
        file.parts.add(number=number, sha256=sha256(part))
    return response


@pytest.mark.parametrize(
    ("held", "offsets"),
    [
        pytest.param(GetUploadResponse(), [0, MIB, 2 * MIB, 3 * MIB], id="nothing known"),
        pytest.param(held(), [0, MIB, 2 * MIB, 3 * MIB], id="nothing held"),
        pytest.param(held(CONTENT[: 2 * MIB]), [2 * MIB, 3 * MIB], id="a part held"),
        pytest.param(held(b"damaged"), [0, MIB, 2 * MIB, 3 * MIB], id="a part damaged"),
        pytest.param(held(complete=True), [], id="complete"),
    ],
)
def test_only_what_is_not_held_is_sent(held: GetUploadResponse, offsets: list[int]) -> None:
    chunks = list(missing_chunks([CONTENT], held))

    assert [chunk.offset_bytes for chunk in chunks] == offsets
    assert all(CONTENT[it.offset_bytes :].startswith(it.data) for it in chunks)


class Registry:
    """Cuts the first upload after some messages, and holds the first part from then on."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.received: list[list[Any]] = []

    async def GetUpload(self, request: Any) -> GetUploadResponse:
        self.asked.append(request)
        return held(CONTENT[: 2 * MIB])

    async def UploadArtifact(self, parts: Any) -> UploadArtifactResponse:
        self.received.append([])
        async for part in parts:
            self.received[-1].append(part)
            if len(self.received) == 1 and len(self.received[0]) == 4:
                raise RpcFailure(StatusCode.UNAVAILABLE, "cut")
        return UploadArtifactResponse(manifest_digest=DIGEST)


class Plan:
    training = "trainings/t1"
    study = "studies/vol5"
    identity = AttemptIdentity("trainings/t1/attempts/1", "allocations/a1", 7)


async def test_a_cut_upload_asks_what_is_held_and_sends_the_rest() -> None:
    registry: Any = Registry()
    plan: Any = Plan()

    digest = await RpcArtifactUpload(registry, lambda _, files: files)(plan, {"model.bin": CONTENT})

    assert digest == DIGEST
    header = registry.received[1][0].header
    assert (header.training, header.fencing_token, header.model) == ("trainings/t1", 7, "models/vol5")
    assert [request.header for request in registry.asked] == [header]
    assert [part.chunk.offset_bytes for part in registry.received[1][1:]] == [2 * MIB, 3 * MIB]


def test_a_sealed_model_lists_its_environment_and_is_signed(tmp_path: Path) -> None:
    key = create_key()

    sealed = ArtifactSeal(key, DIGEST, tmp_path)("models/vol5", {"model.json": b"{}"})

    document = json.loads(sealed[SBOM_FILE])
    assert document["bomFormat"] == "CycloneDX"
    assert "numpy" in {component["name"] for component in document["components"]}
    verify_signature(sealed[SIGNATURE_FILE], ModelArtifact(sealed).manifest.entries, [public_key(key)])


def test_an_environment_has_one_list(tmp_path: Path) -> None:
    first, second = (ArtifactSeal(b"", DIGEST, tmp_path / name)("m", {}) for name in ("a", "b"))

    assert first == second
    assert ArtifactSeal(b"", DIGEST, tmp_path / "a")("m", {}) == first
    assert SIGNATURE_FILE not in first


def test_production_makes_no_key_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    production = PlatformSettings(data_directory=tmp_path, environment=Environment.PRODUCTION)

    with pytest.raises(StartupError):
        make_seal(production, DIGEST)
    monkeypatch.setenv("MLTRAINER_TRAINER_SIGN", "false")

    assert make_seal(production, DIGEST).private_key == b""


def test_development_makes_a_key_when_it_needs_one(tmp_path: Path) -> None:
    development = PlatformSettings(data_directory=tmp_path)

    assert make_seal(development, DIGEST).private_key == make_seal(development, DIGEST).private_key != b""
