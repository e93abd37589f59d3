"""What a verified token says, as a `Principal`.

Pure: gets the claims as JSON values whose signature has been checked, and the time. Everything in them is still whatever
the issuer wrote, so every value is looked at before it is used. Must not know keys, signatures or requests.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.auth.configuration import TokenSettings
from headwater.channels import Principal
from headwater.errors import InvalidInput, NotAuthenticated

INVALID_TOKEN: Final = "invalid_token"
"""The RFC 6750 error code (section 3.1) of a token that is expired, revoked, malformed or otherwise not valid."""

MAX_SUBJECT_LENGTH: Final = 255  # as OpenID Connect Core has it (section 2)
LATEST: Final = 253_402_300_799  # the end of the year 9999; what comes after it is a mistake, such as milliseconds


def refused(what: str, *, expected: str | None = None, fix: str | None = None) -> NotAuthenticated:
    """The error for a token that is not accepted."""
    return NotAuthenticated(what, expected=expected, fix=fix, code=INVALID_TOKEN)


def principal_of(claims: dict[str, Any], settings: TokenSettings, now: float) -> Principal:
    """Check everything in the claims and return who they name.

    Args:
        claims: the payload of a token whose signature is right.
        settings: what to expect.
        now: Unix time in seconds.

    Raises:
        NotAuthenticated: with `invalid_token`; the token is not valid now or not here, or a claim is malformed.
    """
    expires_at = _check_times(claims, settings.leeway, now)
    _check_issuer(claims, settings.issuer)
    _check_audience(claims, settings.audience)
    grants = _grants(claims, settings.grants_claim)
    try:
        return Principal(
            id=_subject(claims),
            permissions=frozenset(_permissions(claims, settings)),
            subscribe=_patterns(grants, settings.grants_claim, "subscribe"),
            publish=_patterns(grants, settings.grants_claim, "publish"),
            expires_at=expires_at,
        )
    except InvalidInput as error:
        raise refused(f"the token's {error.what}", expected=error.expected) from None


def _check_times(claims: dict[str, Any], leeway: float, now: float) -> float:
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise refused("the token has no exp", expected="the Unix time at which it expires")
    if expires_at <= now:
        raise refused(f"the token expired {now - expires_at:.0f} s ago", fix="get a new one from its issuer")
    not_before = _time(claims, "nbf")
    if not_before is not None and not_before > now + leeway:
        raise refused(f"the token becomes valid in {not_before - now:.0f} s")
    return expires_at


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise refused(f"the token's {name} is no time", expected="seconds of Unix time, as a number")
    return float(value)


def _check_issuer(claims: dict[str, Any], issuer: str | None) -> None:
    if issuer is not None and claims.get("iss") != issuer:
        what = (
            "the token names no issuer (iss)" if claims.get("iss") is None else "the token is from another issuer (iss)"
        )
        raise refused(what, expected=repr(issuer))


def _check_audience(claims: dict[str, Any], audience: str | None) -> None:
    named = claims.get("aud")
    names = named if isinstance(named, list) else [] if named is None else [named]
    if not all(isinstance(name, str) for name in names):
        raise refused("the token's aud is malformed", expected="text, or a list of it")
    if audience is None:
        if names:
            raise refused(
                "the token is made for an audience (aud), and this hub has no name to compare it with",
                fix="set HEADWATER_JWT_AUDIENCE to the hub's name",
            )
    elif audience not in names:
        what = "the token is made for another audience (aud)" if names else "the token names no audience (aud)"
        raise refused(what, expected=repr(audience))


def _subject(claims: dict[str, Any]) -> str | None:
    """The `sub`. It goes into logs and counts, hence printable and short."""
    subject = claims.get("sub")
    if subject is None:
        return None
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise refused(
            "the token's sub is malformed", expected=f"text of 1 to {MAX_SUBJECT_LENGTH} printable characters"
        )
    return subject


def _permissions(claims: dict[str, Any], settings: TokenSettings) -> list[str]:
    name = settings.permissions_claim if claims.get(settings.permissions_claim) is not None else settings.scope_claim
    value = claims.get(name)
    if value is None:
        return []
    if isinstance(value, str):
        return value.split()
    return _texts(value, name)


def _grants(claims: dict[str, Any], name: str) -> dict[str, Any]:
    grants = claims.get(name)
    if grants is None:
        return {}
    if not isinstance(grants, dict):
        raise refused(f"the token's {name} is malformed", expected='{"subscribe": [patterns], "publish": [patterns]}')
    return grants


def _patterns(grants: dict[str, Any], claim: str, name: str) -> tuple[str, ...]:
    value = grants.get(name)
    return () if value is None else tuple(_texts(value, f"{claim}.{name}"))


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refused(f"the token's {name} is malformed", expected="a list of text")
    return value
