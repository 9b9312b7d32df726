import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_models import ModelArtifact
from mltrainer_registry.domain.errors import (
    ArtifactDigestMismatchError,
    InvalidArtifactPathError,
    InvalidFieldError,
)
from mltrainer_registry.domain.manifests import ArtifactFile, check_manifest, manifest_digest

SHA = "a" * 64


def file(path: str, size_bytes: int = 1) -> ArtifactFile:
    return ArtifactFile(path, SHA, size_bytes)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "...",
        "a\\b",
        "a b",
        "a\x00b",
        "a#b",
        "file://a",
        "ä",
        "a\n",
        "a" * 256,
    ],
)
def test_a_path_that_could_leave_its_directory_is_refused(path: str) -> None:
    with pytest.raises(InvalidArtifactPathError):
        check_manifest([file(path)], "")


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param(["a", "a"], id="twice"),
        pytest.param(["a", "A"], id="twice where case does not count"),
        pytest.param(["a", "a/b"], id="inside a file"),
        pytest.param(["a/b/c", "a"], id="inside a file, deeper"),
    ],
)
def test_paths_that_exclude_each_other_are_refused(paths: list[str]) -> None:
    with pytest.raises(InvalidArtifactPathError):
        check_manifest([file(path) for path in paths], "")


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([], id="none"),
        pytest.param([file(f"f{number}") for number in range(257)], id="too many"),
        pytest.param([ArtifactFile("a", SHA.upper(), 1)], id="digest in capitals"),
        pytest.param([ArtifactFile("a", "../../etc", 1)], id="no digest"),
        pytest.param([ArtifactFile("a", SHA, -1)], id="negative size"),
    ],
)
def test_a_malformed_manifest_names_the_field(files: list[ArtifactFile]) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        check_manifest(files, "")

    assert refused.value.field.startswith("header.manifest.files")


def test_a_list_with_another_digest_is_refused() -> None:
    with pytest.raises(ArtifactDigestMismatchError):
        check_manifest([file("a")], "0" * 64)


@given(st.permutations(["model.json", "reference.json", "arrays/w.npy"]))
def test_the_digest_is_the_one_the_attempt_computes_in_any_order(order: list[str]) -> None:
    artifact = ModelArtifact({path: path.encode() for path in order})
    files = [ArtifactFile(entry.file, entry.sha256, entry.size_bytes) for entry in artifact.manifest.entries]
    shuffled = [next(one for one in files if one.path == path) for path in order]

    assert manifest_digest(shuffled) == artifact.manifest.digest
    assert check_manifest(shuffled, artifact.manifest.digest).files == tuple(shuffled)
