import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from mltrainer_models import SIGNATURE_FILE, ManifestEntry, ModelArtifact
from mltrainer_models.signatures import (
    SignatureError,
    UnknownKeyError,
    create_key,
    key_id,
    public_key,
    sign_manifest,
    verify_signature,
)

FILES = {
    "model.json": b"{}",
    "arrays/weights.npy": b"weights",
    "arrays-b/x.npy": b"x",
    "reference.json": b"r",
}
KEY = create_key()
PUBLIC = public_key(KEY)


def entries(files: dict[str, bytes]) -> tuple[ManifestEntry, ...]:
    return ModelArtifact(files).manifest.entries


def signed(files: dict[str, bytes] = FILES) -> bytes:
    return sign_manifest(entries(files), KEY, "models/vol5")


def test_a_signature_vouches_for_the_files_it_was_made_of() -> None:
    signature = signed()

    assert verify_signature(signature, entries(FILES), [PUBLIC]) == key_id(PUBLIC)
    assert verify_signature(signature, entries({**FILES, SIGNATURE_FILE: signature}), [PUBLIC]) == key_id(
        PUBLIC
    )


def test_the_same_files_have_the_same_signature() -> None:
    assert signed() == signed(dict(reversed(FILES.items())))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param({**FILES, "model.json": b"{ }"}, "model.json is not what was signed", id="altered"),
        pytest.param({**FILES, "more.npy": b""}, "more.npy is not signed", id="added"),
        pytest.param({"model.json": b"{}"}, "is signed and missing", id="removed"),
    ],
)
def test_other_files_are_refused_by_name(files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        verify_signature(signed(), entries(files), [PUBLIC])


def test_a_key_that_nobody_trusts_is_told_apart() -> None:
    with pytest.raises(UnknownKeyError) as refused:
        verify_signature(signed(), entries(FILES), [public_key(create_key())])

    assert refused.value.key_id == key_id(PUBLIC)


def test_a_trusted_name_on_another_keys_work_is_refused() -> None:
    bundle = json.loads(sign_manifest(entries(FILES), create_key(), "x"))
    bundle["verificationMaterial"]["publicKey"]["hint"] = key_id(PUBLIC)

    with pytest.raises(SignatureError, match="was not made by key"):
        verify_signature(json.dumps(bundle).encode(), entries(FILES), [PUBLIC])


def test_no_flipped_byte_of_a_signature_goes_through() -> None:
    signature, generator = signed(), random.Random(7)
    promise = _promise(signature)
    for position in generator.sample(range(len(signature)), 300):
        flipped = bytearray(signature)
        flipped[position] ^= 1 << generator.randrange(8)
        try:
            verify_signature(bytes(flipped), entries(FILES), [PUBLIC])
        except SignatureError:
            continue
        # Only what is no part of the promise may differ: names of the container around it.
        assert _promise(bytes(flipped)) == promise


def _promise(signature: bytes) -> list[bytes]:
    envelope: Any = json.loads(signature)["dsseEnvelope"]
    return [base64.b64decode(text) for text in (envelope["payload"], envelope["signatures"][0]["sig"])]


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"dsseEnvelope":{"signatures":[]}}',
        b"[" * 100_000,
        json.dumps({"dsseEnvelope": {"payload": "!", "signatures": [{"sig": ""}]}}).encode(),
    ],
)
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(SignatureError):
        verify_signature(signature, entries(FILES), [PUBLIC])


@pytest.mark.parametrize("key", [b"", PUBLIC, b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_private_key_is_refused(key: bytes) -> None:
    with pytest.raises(SignatureError):
        sign_manifest(entries(FILES), key, "x")


class TestModelSigning:
    """The library whose format this is agrees, in both directions."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "key.pem").write_bytes(KEY)
        (tmp_path / "public.pem").write_bytes(PUBLIC)
        for name, content in FILES.items():
            path = tmp_path / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path

    def verify(self, folder: Path) -> None:
        model_signing = pytest.importorskip("model_signing")
        config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=folder / "public.pem")
        config.verify(folder / "model", folder / "model" / SIGNATURE_FILE)

    def test_it_accepts_what_we_sign_and_nothing_else(self, folder: Path) -> None:
        (folder / "model" / SIGNATURE_FILE).write_bytes(signed())
        self.verify(folder)

        (folder / "model" / "model.json").write_bytes(b"{ }")

        with pytest.raises(ValueError, match="mismatch"):
            self.verify(folder)

    def test_we_accept_what_it_signs(self, folder: Path) -> None:
        model_signing = pytest.importorskip("model_signing")
        config = model_signing.signing.Config().use_elliptic_key_signer(private_key=folder / "key.pem")
        config.sign(folder / "model", folder / SIGNATURE_FILE)

        signature = (folder / SIGNATURE_FILE).read_bytes()

        assert verify_signature(signature, entries(FILES), [PUBLIC]) == hashlib.sha256(PUBLIC).hexdigest()
