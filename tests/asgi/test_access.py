"""Who is asking, and who is not let in."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.asgi.access import Caller, Gate
from headwater.asgi.cors import Cors
from headwater.asgi.request import query_of
from headwater.auth import TicketOffice
from headwater.auth.credentials import Source
from headwater.channels import EVERYTHING, Principal
from headwater.errors import ConfigurationError, InvalidInput, NotAllowed, NotAuthenticated
from tests.support.site import bearer, token, verifier
from tests.support.tokens import SECRET

OFFICE = TicketOffice(SECRET)


def gate(
    *, dev: bool = False, origins: tuple[str, ...] = (), cookie_name: str | None = None, keyed: bool = True
) -> Gate:
    """A gate, with a verifier if it is keyed."""
    cors = Cors(origins, local=dev)
    return Gate(verifier() if keyed else None, OFFICE, cors, cookie_name=cookie_name, dev=dev)


async def identify(gate: Gate, query: str = "", *, method: str = "GET", **headers: str) -> Caller:
    """Who a request with these headers is from."""
    lines = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()
    ]
    scope: dict[str, Any] = {"method": method, "headers": lines, "query_string": query.encode()}
    return await gate.identify(scope, query_of(scope))


def test_a_hub_without_keys_is_for_development() -> None:
    """Otherwise nobody could be told from anybody."""
    with pytest.raises(ConfigurationError, match="nothing to check tokens with"):
        gate(keyed=False)


async def test_a_token_names_its_principal() -> None:
    """In the header or the query."""
    caller = await identify(gate(), **bearer("ada", permissions=["p"]))
    assert (caller.principal.id, caller.principal.permissions) == ("ada", frozenset({"p"}))
    assert (await identify(gate(), f"token={token('eve')}")).principal.id == "eve"


async def test_a_ticket_stands_for_its_principal_once() -> None:
    """The second use is refused."""
    ticket = OFFICE.issue(Principal(id="ada"))
    assert (await identify(gate(), f"ticket={ticket}")).principal.id == "ada"
    with pytest.raises(NotAuthenticated, match="used before"):
        await identify(gate(), f"ticket={ticket}")


async def test_nobody_is_let_in_without_credentials() -> None:
    """The error has no RFC 6750 code, because no credentials were sent."""
    with pytest.raises(NotAuthenticated, match="no token was sent") as caught:
        await identify(gate())
    assert caught.value.code is None


async def test_a_cookie_counts_for_pages_of_ours() -> None:
    """If the hub knows its name, and the page is the hub's or an allowed one."""
    guarded = gate(cookie_name="session", origins=("https://app.example",))
    cookie = f"a=b; session={token('ada')}"
    caller = await identify(guarded, method="POST", cookie=cookie, origin="https://app.example")
    assert (caller.principal.id, caller.credentials.source) == ("ada", Source.COOKIE)
    with pytest.raises(NotAllowed, match="another origin"):
        await identify(guarded, method="POST", cookie=cookie, origin="https://evil.example")
    with pytest.raises(NotAuthenticated):
        await identify(gate(), cookie=cookie)


async def test_two_different_credentials_are_refused() -> None:
    """The caller meant one of them, and we cannot know which."""
    with pytest.raises(InvalidInput, match="different credentials"):
        await identify(gate(), f"token={token('eve')}", **bearer("ada"))


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:80", "testserver", "10.1.2.3:8000", ""])
async def test_development_lets_everybody_do_everything(host: str) -> None:
    """Without credentials, under every name that cannot be somebody else's domain."""
    assert (await identify(gate(dev=True, keyed=False), host=host)).principal == EVERYTHING


async def test_development_still_takes_tokens_if_it_can_check_them() -> None:
    """So that grants can be tried out; without a key a token changes nothing."""
    headers = bearer("ada")
    assert (await identify(gate(dev=True), **headers)).principal.id == "ada"
    assert (await identify(gate(dev=True, keyed=False), **headers)).principal == EVERYTHING


@pytest.mark.parametrize("host", ["hub.evil.example", "localhost.evil.example:8000", "127.0.0.1.nip.example"])
async def test_development_is_not_fooled_by_rebound_names(host: str) -> None:
    """A page that had its own domain point to this machine sends that domain as Host, and is refused."""
    with pytest.raises(NotAllowed, match="does not answer as"):
        await identify(gate(dev=True, keyed=False), host=host)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
async def test_development_refuses_pages_from_elsewhere(origin: str) -> None:
    """Any page on the web can make a browser send requests to this machine; its origin gives it away."""
    with pytest.raises(NotAllowed, match="may not use a hub in development mode"):
        await identify(gate(dev=True, keyed=False), method="POST", origin=origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:5173"),
        ("hub:8000", "http://hub:8000"),
        ("localhost", "https://app.example"),
    ],
)
async def test_development_takes_pages_of_this_machine(host: str, origin: str) -> None:
    """Any of its ports, the hub's own pages, and origins that were allowed."""
    open_gate = gate(dev=True, keyed=False, origins=("https://app.example",))
    assert (await identify(open_gate, host=host, origin=origin)).principal == EVERYTHING


async def test_a_token_that_is_asked_about_is_checked_like_any_other() -> None:
    """Where no tokens are checked, everybody may do everything."""
    assert (await gate().principal_of(token("eve"))).id == "eve"
    with pytest.raises(NotAuthenticated):
        await gate().principal_of("nonsense")
    assert await gate(dev=True, keyed=False).principal_of("nonsense") is EVERYTHING
