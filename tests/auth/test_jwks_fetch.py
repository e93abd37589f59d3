"""Fetching keys from real servers on this machine: good ones, broken ones, slow ones, and ones nobody vouches for."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headwater.auth import jwks
from headwater.auth.configuration import TokenSettings
from headwater.auth.jwks import MAX_BYTES, FetchFailed, fetch
from headwater.auth.tokens import Verifier
from tests.support.certificates import self_signed
from tests.support.tokens import NOW, jwk, signed

SET = json.dumps({"keys": [jwk("RSA", "one"), jwk("P-256", "two")]}).encode()

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server, or a proxy, whose every GET and CONNECT is given to `answer`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_CONNECT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that gives up is what some of these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/jwks"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def body(content: bytes, status: int = 200, **headers: str) -> Answer:
    """Answer with this."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def test_a_key_set_is_fetched() -> None:
    """With an Accept header that names the format, and through no proxy when it is on this machine."""
    seen = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append((request.path, request.headers["Accept"], request.headers["User-Agent"]))
        body(SET)(request)

    with pytest.MonkeyPatch.context() as patch, serving(answer) as url:
        patch.setenv("http_proxy", "http://127.0.0.1:1")
        patch.delenv("no_proxy", raising=False)
        assert set(fetch(url, 5.0)) == {"one", "two"}
    assert seen == [("/jwks", "application/jwk-set+json, application/json", "headwater")]


def test_other_machines_are_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names one, as company networks do."""
    asked = []

    def refuse(request: BaseHTTPRequestHandler) -> None:
        asked.append((request.command, request.path))
        body(b"", 403)(request)

    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(refuse) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        with pytest.raises(FetchFailed, match="403"):
            fetch("https://id.invalid/jwks", 5.0)
    assert asked == [("CONNECT", "id.invalid:443")]


async def test_a_token_is_verified_with_a_fetched_key() -> None:
    """The whole way: token, kid, fetch, signature, principal."""
    with serving(body(SET)) as url:
        verifier = Verifier(TokenSettings(jwks_url=url), clock=lambda: NOW)
        for kind, algorithm, kid in (("RSA", "RS256", "one"), ("P-256", "ES256", "two")):
            assert (await verifier.principal(signed({}, kind, algorithm, kid=kid))).id == "ada"


@pytest.mark.parametrize("status", [204, 301, 302, 307, 403, 404, 500, 503])
def test_any_other_status_is_a_failed_fetch(status: int) -> None:
    """Redirects too: where they lead is not checked, so they are not followed."""
    with serving(body(b"", status, Location="http://192.0.2.1/jwks")) as url, pytest.raises(FetchFailed):
        fetch(url, 5.0)


def test_a_redirect_is_not_followed() -> None:
    """Not even to the same server."""
    asked = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        body(b"", 302, Location="/elsewhere")(request)

    with serving(answer) as url, pytest.raises(FetchFailed, match="the answer was 302"):
        fetch(url, 5.0)
    assert asked == ["/jwks"]


def test_an_answer_has_a_bounded_size() -> None:
    """One that is too large is given up, whether it says its length or not."""
    with serving(body(b" " * (MAX_BYTES + 1))) as url, pytest.raises(FetchFailed, match="larger than"):
        fetch(url, 5.0)

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b" " * 65536)

    with serving(endless) as url, pytest.raises(FetchFailed, match="larger than"):
        fetch(url, 5.0)


def test_an_answer_has_a_bounded_time() -> None:
    """A server that sends a byte now and then is given up although each byte comes in time."""
    over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not over.wait(0.01):
            request.wfile.write(b" ")

    with serving(drip) as url:
        with pytest.raises(FetchFailed, match="too slowly"):
            fetch(url, 0.05)
        over.set()


def test_a_silent_server_is_given_up() -> None:
    """One that accepts and says nothing."""
    over = threading.Event()

    def silent(request: BaseHTTPRequestHandler) -> None:
        over.wait(10)

    with serving(silent) as url:
        with pytest.raises(FetchFailed, match=r"timed out|TimeoutError|no answer within"):
            fetch(url, 0.05)
        over.set()


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_head_has_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_encrypted: bool) -> None:
    """A server that sends a byte of it now and then would hold the thread for ever: each byte comes in time."""
    over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not over.wait(0.01):
            request.wfile.write(b"x")

    with serving(drip, tls(tmp_path) if is_encrypted else None) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with pytest.raises(FetchFailed, match=r"no answer within 0\.3 s"):
            fetch(url, 0.3)
        over.set()


def test_what_has_no_connection_yet_cannot_be_cut() -> None:
    """Looking up a name takes as long as the system lets it."""
    connections = jwks._Connections()
    connections.http("127.0.0.1")
    with closing(socket.socket()) as unconnected:
        connections.http("127.0.0.1").sock = unconnected
        connections.cut()
    assert connections.are_cut


def test_broken_answers_are_failed_fetches() -> None:
    """A body that ends early, a response that is no HTTP, and a port where nobody is."""

    def short(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(SET[:500])

    def nonsense(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"no http at all\r\n\r\n")

    for answer in (short, nonsense):
        with serving(answer) as url, pytest.raises(FetchFailed):
            fetch(url, 5.0)
    with pytest.raises(FetchFailed, match="refused"):
        fetch(url, 5.0)


def tls(folder: Path) -> ssl.SSLContext:
    """A TLS server's context with a certificate that nobody but itself vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(folder))
    return context


def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that nobody vouches for is refused, and the same one is believed once somebody does."""
    with serving(body(SET), tls(tmp_path)) as url:
        with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(url, 5.0)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert set(fetch(url, 5.0)) == {"one", "two"}


def test_an_address_with_odd_characters_is_a_failed_fetch() -> None:
    """What the URL check lets through and the client does not take is no crash."""
    with pytest.raises(FetchFailed):
        jwks.fetch("http://127.0.0.1:1/a b\x7f", 1.0)
