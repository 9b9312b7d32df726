"""Makes and checks the short-lived tokens that say who calls: HS256 with a key only its owner can read."""

import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import jwt

from mltrainer_common.authorization import Role
from mltrainer_common.errors import StartupError

_ALGORITHM = "HS256"
_ISSUER = "mltrainer"
_KEY_BYTES = 48
_CLOCK_SKEW_S = 5.0
_MAXIMAL_CACHED_TOKENS = 4096


class TokenKeyError(StartupError):
    """The key file cannot be trusted; the text says what to do."""


class InvalidTokenError(Exception):
    """A token that does not prove who calls; `reason` is stable."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as its token says."""

    subject: str
    roles: frozenset[Role]


def load_or_create_token_key(path: Path) -> bytes:
    """Returns the signing key, made on first use; many processes may start at once.

    Raises:
        TokenKeyError: Others may read the file, or it is too short to be a key.
    """
    if not path.exists():
        _create_key(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise TokenKeyError(f"{path} can be read by others: run `chmod 600 {path}`")
    key = path.read_bytes()
    if len(key) < _KEY_BYTES:
        raise TokenKeyError(f"{path} is no key: delete it, and the next start makes a new one")
    return key


def _create_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_KEY_BYTES // 2).encode())
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first; its key counts
    finally:
        draft.unlink()


class TokenIssuer:
    """Makes the tokens of one subject, one per audience, and renews them before they expire."""

    def __init__(
        self,
        key: bytes,
        subject: str,
        roles: Iterable[Role],
        lifetime_s: float = 600.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._claims = {"iss": _ISSUER, "sub": subject, "roles": sorted(roles)}
        self._lifetime_s = lifetime_s
        self._now = now
        self._tokens: dict[str, tuple[str, float]] = {}

    def token(self, audience: str) -> str:
        """Returns a token for a service that is valid for at least a fifth of the lifetime."""
        cached = self._tokens.get(audience)
        now = self._now()
        if cached is not None and now < cached[1]:
            return cached[0]
        claims = {**self._claims, "aud": audience, "iat": int(now), "exp": int(now + self._lifetime_s)}
        token = jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        self._tokens[audience] = (token, now + 0.8 * self._lifetime_s)
        return token


class TokenVerifier:
    """Checks the tokens presented to one service; a checked token is remembered until it expires."""

    def __init__(self, key: bytes, audience: str, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._audience = audience
        self._now = now
        self._known: dict[str, tuple[Principal, float]] = {}

    def verify(self, token: str) -> Principal:
        """Returns who the token says calls.

        Raises:
            InvalidTokenError: It is expired, for another audience, forged or malformed.
        """
        now = self._now()
        known = self._known.get(token)
        if known is None:
            known = self._decode(token)
            if len(self._known) >= _MAXIMAL_CACHED_TOKENS:
                self._known.clear()
            self._known[token] = known
        if now >= known[1]:
            del self._known[token]
            raise InvalidTokenError("TOKEN_EXPIRED")
        return known[0]

    def _decode(self, token: str) -> tuple[Principal, float]:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=_ISSUER,
                # The expiry is compared with the injected clock in `verify`.
                options={"require": ["exp", "sub", "aud", "iss"], "verify_exp": False, "verify_iat": False},
            )
            roles = frozenset(Role(name) for name in claims.get("roles", ()))
            return Principal(str(claims["sub"]), roles), float(claims["exp"]) + _CLOCK_SKEW_S
        except jwt.InvalidAudienceError as error:
            raise InvalidTokenError("TOKEN_FOR_ANOTHER_SERVICE") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise InvalidTokenError("TOKEN_INVALID") from error
