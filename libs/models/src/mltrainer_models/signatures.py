"""Signs the manifest of an artifact in OpenSSF Model Signing's format (v1.0, elliptic keys) and verifies it.

The signed statement lists the digest of every file, so whoever has verified the files against the manifest
needs no second look at their bytes. The format is `model-signing`'s own: each verifies what the other signed.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mltrainer_models.artifact import SIGNATURE_FILE, ManifestEntry

MAX_SIGNATURE_BYTES = 1 << 20

_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SERIALIZATION = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [SIGNATURE_FILE],
}
_CURVE = ec.SECP256R1()


class SignatureError(Exception):
    """A signature does not vouch for the files; the text says why."""


class UnknownKeyError(SignatureError):
    """Nobody here has said that the key may be trusted."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(f"key {key_id} is not trusted here")


def create_key() -> bytes:
    """Makes a private key, PEM."""
    return ec.generate_private_key(_CURVE).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key(private_key: bytes) -> bytes:
    """Returns the public half of a private key, PEM.

    Raises:
        SignatureError: The text is no private key on the curve P-256.
    """
    return _public_pem(_private(private_key).public_key())


def normal_public_key(public_pem: bytes) -> bytes:
    """Returns the one spelling of a public key.

    Raises:
        SignatureError: The text is no public key on the curve P-256.
    """
    return _public_pem(_public(public_pem))


def key_id(public_pem: bytes) -> str:
    """Returns what a signature names its key by: the sha256 of the PEM."""
    return hashlib.sha256(public_pem).hexdigest()


def sign_manifest(entries: Iterable[ManifestEntry], private_key: bytes, name: str) -> bytes:
    """Returns the content of `model.sig` for the files of a manifest; the same files give the same bytes."""
    key = _private(private_key)
    files = sorted(_signed(entries).items())
    root = hashlib.sha256(b"".join(bytes.fromhex(sha256) for _, sha256 in files)).hexdigest()
    resources = [{"name": file, "algorithm": "sha256", "digest": sha256} for file, sha256 in files]
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {"serialization": _SERIALIZATION, "resources": resources},
    }
    payload = json.dumps(statement, separators=(",", ":")).encode()
    signature = key.sign(_to_sign(payload), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    bundle = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": key_id(_public_pem(key.public_key()))},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, separators=(",", ":")).encode()


def verify_signature(signature: bytes, entries: Iterable[ManifestEntry], trusted: Sequence[bytes]) -> str:
    """Returns the id of the key that has signed exactly these files.

    Raises:
        UnknownKeyError: The signature names a key that is not among the trusted ones.
        SignatureError: It is malformed, was not made by its key, or is about other files.
    """
    hint, payload, raw = _open(signature)
    keys = {key_id(normal_public_key(pem)): pem for pem in trusted}
    if hint not in keys:
        raise UnknownKeyError(hint)
    try:
        _public(keys[hint]).verify(raw, _to_sign(payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise SignatureError(f"{SIGNATURE_FILE} was not made by key {hint}, or was altered") from error
    # Only now is the statement somebody's word.
    _compare(_resources(payload), _signed(entries))
    return hint


def _compare(signed: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name in sorted(signed.keys() | found.keys()):
        if name not in found:
            raise SignatureError(f"{name} is signed and missing")
        if name not in signed:
            raise SignatureError(f"{name} is not signed")
        if signed[name] != found[name]:
            raise SignatureError(f"{name} is not what was signed")


def _signed(entries: Iterable[ManifestEntry]) -> dict[str, str]:
    return {entry.file: entry.sha256 for entry in entries if entry.file != SIGNATURE_FILE}


def _open(signature: bytes) -> tuple[str, bytes, bytes]:
    try:
        bundle = json.loads(signature[: MAX_SIGNATURE_BYTES + 1])
        envelope = bundle["dsseEnvelope"]
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        (one,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        raw = base64.b64decode(one["sig"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise SignatureError(f"{SIGNATURE_FILE} is no signature") from error
    if envelope.get("payloadType") != _PAYLOAD_TYPE or not isinstance(hint, str):
        raise SignatureError(f"{SIGNATURE_FILE} signs no statement of this format")
    return hint, payload, raw


def _resources(payload: bytes) -> dict[str, str]:
    try:
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT_TYPE, _PREDICATE_TYPE):
            raise SignatureError(f"{SIGNATURE_FILE} signs another kind of statement")
        predicate = statement["predicate"]
        if predicate["serialization"]["method"] != "files":
            raise SignatureError(f"{SIGNATURE_FILE} does not sign whole files")
        resources = predicate["resources"]
        if any(one["algorithm"] != "sha256" for one in resources):
            raise SignatureError(f"{SIGNATURE_FILE} uses another digest than sha256")
        return {str(one["name"]): str(one["digest"]) for one in resources}
    except (ValueError, KeyError, TypeError) as error:
        raise SignatureError(f"{SIGNATURE_FILE} signs no list of files") from error


def _to_sign(payload: bytes) -> bytes:
    # DSSE's pre-authentication encoding.
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key: Any = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise SignatureError("the signing key is no private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != _CURVE.name:
        raise SignatureError("the signing key is not on the curve P-256")
    return key


def _public(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key: Any = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise SignatureError("a trusted key is no public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVE.name:
        raise SignatureError("a trusted key is not on the curve P-256")
    return key


def _public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
