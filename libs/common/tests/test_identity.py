"""Tokens, the key file and the role table."""

import multiprocessing
import stat
from pathlib import Path

import jwt
import pytest
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2
from mltrainer_common.authorization import READERS, Role, RoleTable, unlisted_methods
from mltrainer_common.tokens import (
    InvalidTokenError,
    Principal,
    TokenIssuer,
    TokenKeyError,
    TokenVerifier,
    load_or_create_token_key,
)

KEY = b"k" * 48


class Now:
    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def verifier(now: Now) -> TokenVerifier:
    return TokenVerifier(KEY, "registry", now)


def issuer(now: Now, key: bytes = KEY) -> TokenIssuer:
    return TokenIssuer(key, "users/ann", [Role.VIEWER, Role.TRADER], 600.0, now)


def test_a_token_proves_subject_and_roles(verifier: TokenVerifier, now: Now) -> None:
    principal = verifier.verify(issuer(now).token("registry"))

    assert principal == Principal("users/ann", frozenset({Role.VIEWER, Role.TRADER}))


def test_a_known_token_expires_all_the_same(verifier: TokenVerifier, now: Now) -> None:
    token = issuer(now).token("registry")
    verifier.verify(token)
    now.seconds += 606.0

    with pytest.raises(InvalidTokenError) as caught:
        verifier.verify(token)

    assert caught.value.reason == "TOKEN_EXPIRED"


def test_an_issuer_renews_before_the_token_expires(now: Now) -> None:
    ann = issuer(now)
    first = ann.token("registry")
    now.seconds += 479.0
    again = ann.token("registry")
    now.seconds += 2.0
    renewed = ann.token("registry")

    assert first == again != renewed


@pytest.mark.parametrize(
    ("audience", "key", "reason"),
    [
        pytest.param("feature", KEY, "TOKEN_FOR_ANOTHER_SERVICE", id="audience"),
        pytest.param("registry", b"x" * 48, "TOKEN_INVALID", id="key"),
    ],
)
def test_a_token_for_another_service_or_of_another_key_is_refused(
    verifier: TokenVerifier, now: Now, audience: str, key: bytes, reason: str
) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        verifier.verify(issuer(now, key).token(audience))

    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="no-token"),
        pytest.param(
            jwt.encode({"sub": "x", "aud": "registry", "exp": 2e9}, key="", algorithm="none"), id="unsigned"
        ),
        pytest.param(
            jwt.encode({"iss": "mltrainer", "sub": "x", "aud": "registry"}, KEY, algorithm="HS256"),
            id="no-expiry",
        ),
        pytest.param(
            jwt.encode(
                {"iss": "mltrainer", "sub": "x", "aud": "registry", "exp": 2e9, "roles": ["root"]},
                KEY,
                algorithm="HS256",
            ),
            id="unknown-role",
        ),
        pytest.param(
            jwt.encode(
                {"iss": "mltrainer", "sub": "x", "aud": "registry", "exp": 2e9, "roles": 7},
                KEY,
                algorithm="HS256",
            ),
            id="roles-no-list",
        ),
    ],
)
def test_what_is_no_token_of_ours_is_refused(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(InvalidTokenError):
        verifier.verify(token)


def test_the_cache_of_a_verifier_is_bounded(verifier: TokenVerifier, now: Now) -> None:
    for number in range(5000):
        verifier.verify(TokenIssuer(KEY, f"users/{number}", [], 600.0, now).token("registry"))

    assert len(verifier._known) <= 4096


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token.key"

    keys = {load_or_create_token_key(path), load_or_create_token_key(path)}

    assert len(keys) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["token.key"]


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(load_or_create_token_key, [tmp_path / "token.key"] * 8)

    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token.key"
    path.write_bytes(KEY)
    path.chmod(mode)

    with pytest.raises(TokenKeyError, match="chmod 600"):
        load_or_create_token_key(path)


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    path.touch(mode=0o600)

    with pytest.raises(TokenKeyError, match="delete it"):
        load_or_create_token_key(path)


def test_what_is_not_listed_is_denied_to_all() -> None:
    table = RoleTable({"/a.S/Get": READERS})

    assert table.roles("/a.S/Delete") == frozenset()
    assert Role.ANYONE in table.roles("/grpc.health.v1.Health/Check")


def test_a_method_without_roles_is_found() -> None:
    service = health_pb2.DESCRIPTOR.services_by_name["Health"]
    table = RoleTable({"/grpc.health.v1.Health/Check": READERS})

    assert "/grpc.health.v1.Health/Watch" in unlisted_methods([service], table)
    assert "/grpc.health.v1.Health/Check" not in unlisted_methods([service], table)
    assert unlisted_methods(empty_pb2.DESCRIPTOR.services_by_name.values(), table) == []


def test_tables_of_two_contracts_can_be_joined() -> None:
    joined = RoleTable({"/a.S/Get": READERS}) | RoleTable({"/b.S/Get": {Role.ANYONE}})

    assert (joined.roles("/a.S/Get"), joined.roles("/b.S/Get")) == (READERS, {Role.ANYONE})
