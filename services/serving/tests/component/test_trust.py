"""What is served was verified first: a flipped byte anywhere is refused before anything parses it."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mltrainer_common.content_store import ContentStore
from mltrainer_common.settings import Environment, PlatformSettings
from mltrainer_models import (
    SIGNATURE_FILE,
    LibraryModel,
    LinearModel,
    ModelArtifact,
    ModelDescription,
    ModelTarget,
    load_predictor,
    save_model,
)
from mltrainer_models.signatures import create_key, public_key, sign_manifest
from mltrainer_serving.adapters import model_loader
from mltrainer_serving.adapters.model_loader import ContentStoreModelLoader, SignaturePolicy
from mltrainer_serving.application.ports import ModelLoadError, ModelRefusedError
from mltrainer_serving.bootstrap import signature_policy
from mltrainer_serving.domain.deployment import ArtifactFile, Version
from mltrainer_serving.settings import ServingSettings

KEY = create_key()
OWN = public_key(KEY)
NAMES = ("a", "b")
FLIPS = 1_000


def model_files(extra: dict[str, bytes] | None = None) -> dict[str, bytes]:
    description = ModelDescription("ridge", ModelTarget("LOG_REALIZED_VARIANCE", 5), NAMES)
    model = LinearModel(description, np.zeros(2), np.ones(2), np.array([1.0, 2.0]), 0.5)
    return {**model.to_artifact().files, **(extra or {})}


def signed(files: dict[str, bytes], key: bytes = KEY) -> dict[str, bytes]:
    return {**files, SIGNATURE_FILE: sign_manifest(ModelArtifact(files).manifest.entries, key, "models/vol5")}


def publish(store: ContentStore, files: dict[str, bytes]) -> Version:
    listed = tuple(ArtifactFile(path, store.put_bytes(content)) for path, content in sorted(files.items()))
    return Version("vol5", 1, "", listed)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "artifacts"))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Takes note of everything that is handed to the parser."""
    seen: list[Any] = []

    def load(files: Any) -> Any:
        seen.append(files)
        return load_predictor(files)

    monkeypatch.setattr(model_loader, "load_predictor", load)
    return seen


def loader(store: ContentStore, *trusted: bytes, is_required: bool = False) -> ContentStoreModelLoader:
    return ContentStoreModelLoader(store, SignaturePolicy(lambda: trusted, is_required=is_required))


async def test_a_thousand_flipped_bytes_are_refused_before_anything_parses_them(
    store: ContentStore, tmp_path: Path, parsed: list[Any]
) -> None:
    files = signed(model_files({"reference.json": b"{}" * 500}))
    version, generator, refused = publish(store, files), random.Random(20261123), 0
    paths = {
        file: tmp_path / "artifacts" / "sha256" / file.sha256[:2] / file.sha256 for file in version.files
    }
    contents = {file: bytearray(path.read_bytes()) for file, path in paths.items()}
    weights = [len(content) for content in contents.values()]
    for path in paths.values():
        path.chmod(0o644)

    for _ in range(FLIPS):
        (file,) = generator.choices(list(contents), weights)
        flipped = bytearray(contents[file])
        flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
        paths[file].write_bytes(flipped)
        try:
            await loader(store, OWN).load(version)
        except ModelLoadError:
            refused += 1
        paths[file].write_bytes(contents[file])

    assert (refused, parsed) == (FLIPS, [])
    assert (await loader(store, OWN).load(version)).predict([[1.0, 1.0]])[0] == 3.5


async def test_a_registry_that_names_other_bytes_is_not_believed(
    store: ContentStore, parsed: list[Any]
) -> None:
    version = publish(store, signed(model_files()))
    other = store.put_bytes(model_files()["intercept.npy"][:-1] + b"\x01")
    files = tuple(replace(it, sha256=other) if it.path == "intercept.npy" else it for it in version.files)

    with pytest.raises(ModelLoadError, match=r"intercept\.npy is not what was signed"):
        await loader(store, OWN).load(replace(version, files=files))

    assert parsed == []


@pytest.mark.parametrize(
    ("files", "is_required", "reason"),
    [
        pytest.param(model_files, False, "", id="unsigned"),
        pytest.param(model_files, True, "only signed versions", id="unsigned, required"),
        pytest.param(lambda: signed(model_files(), create_key()), False, "", id="stranger"),
        pytest.param(
            lambda: signed(model_files(), create_key()), True, "not trusted", id="stranger, required"
        ),
        pytest.param(lambda: signed(model_files()), True, "", id="own, required"),
        pytest.param(lambda: model_files({SIGNATURE_FILE: b"{}"}), False, "no signature", id="rubbish"),
        pytest.param(lambda: {"mlflow/model.pkl": b"x"}, False, "cannot be served", id="opaque"),
    ],
)
async def test_the_policy_says_whose_models_are_served(
    store: ContentStore, files: Callable[[], dict[str, bytes]], is_required: bool, reason: str
) -> None:
    version = publish(store, files())
    load = loader(store, OWN, is_required=is_required).load(version)
    if not reason:
        assert (await load).feature_names == NAMES
        return

    with pytest.raises(ModelLoadError, match=reason):
        await load


async def test_a_model_that_predicts_in_batch_only_is_refused_for_good(store: ContentStore) -> None:
    description = ModelDescription("garch", ModelTarget("LOG_REALIZED_VARIANCE", 5), ("return",))
    version = publish(store, dict(save_model(LibraryModel(description, {"order": (1, 1)})).files))

    with pytest.raises(ModelRefusedError, match=r"^BATCH_ONLY: models/vol5/versions/1 is a garch"):
        await loader(store).load(version)


async def test_what_was_verified_once_is_not_read_again(store: ContentStore, tmp_path: Path) -> None:
    version, once = publish(store, signed(model_files())), loader(store, OWN)
    first = await once.load(version)
    for path in (tmp_path / "artifacts" / "sha256").rglob("*"):
        if path.is_file():
            path.unlink()

    assert await once.load(replace(version, number=2)) is first


async def test_no_more_than_the_limit_is_kept(store: ContentStore) -> None:
    small = ContentStoreModelLoader(store, cached_bytes=1)
    versions = [publish(store, {**model_files(), "reference.json": bytes([n])}) for n in range(2)]
    first = await small.load(versions[0])
    await small.load(versions[1])

    assert await small.load(versions[0]) is not first


@pytest.mark.parametrize(
    ("environment", "required", "expected"),
    [
        (Environment.DEVELOPMENT, None, False),
        (Environment.PRODUCTION, None, True),
        (Environment.PRODUCTION, False, False),
        (Environment.DEVELOPMENT, True, True),
    ],
)
def test_production_requires_signatures_unless_told_otherwise(
    tmp_path: Path, environment: Environment, required: bool | None, expected: bool
) -> None:
    platform = PlatformSettings(data_directory=tmp_path, environment=environment)

    policy = signature_policy(platform, ServingSettings(require_signatures=required))

    assert (policy.is_required, tuple(policy.trusted())) == (expected, ())
