"""Headwater: `headwater serve` on its own server (the direct path), and the same library under plain uvicorn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jwt

from bench.systems.base import Publish, System, uvicorn

SECRET = "a secret of the benchmark, and of nothing else"
MEMORY = "memory://"
SQLITE = "sqlite"  # stands for a file in the server's own directory

_ENVELOPE = '{"channel":"bench","data":'

# One machine opens every stream, which the default limits rightly forbid.
_UNLIMITED = {
    "HEADWATER_MAX_STREAMS": "0",
    "HEADWATER_MAX_STREAMS_PER_PRINCIPAL": "0",
    "HEADWATER_MAX_STREAMS_PER_ADDRESS": "0",
    "HEADWATER_CONNECT_RATE": "0",
    "HEADWATER_PUBLISH_RATE": "0",
}


def _serve(broker: str, *options: str) -> Callable[[int, Path], Sequence[str]]:
    def command(port: int, directory: Path) -> Sequence[str]:
        url = f"sqlite:///{directory / 'bench.db'}" if broker == SQLITE else broker
        place = ["--broker", url, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        return [str(Path(sys.executable).with_name("headwater")), "serve", *place, *options]

    return command


def headwater(broker: str = MEMORY) -> System:
    """Headwater with everything allowed, as on a developer's machine."""
    return System(
        name="headwater",
        title="Headwater",
        command=_serve(broker, "--dev"),
        stream="/events?channel=bench",
        publish=Publish(path="/events", prefix=_ENVELOPE, suffix="}"),
        publish_many=Publish(path="/events", prefix=f"[{_ENVELOPE}", separator="}," + _ENVELOPE, suffix="}]"),
        environment=_UNLIMITED,
        durable="on disk" if broker == SQLITE else "in memory",
    )


def headwater_with_tokens(permissions: Iterable[str] = ()) -> System:
    """Headwater with a key configured: every stream and every publish carries a token, events these permissions."""
    names = ",".join(f'"{name}"' for name in permissions)
    suffix = f',"permissions":[{names}]}}' if names else "}"
    return System(
        name="headwater",
        title="Headwater",
        command=_serve(MEMORY),
        stream="/events?channel=bench",
        publish=Publish(path="/events", headers=bearer("publisher"), prefix=_ENVELOPE, suffix=suffix),
        environment={**_UNLIMITED, "HEADWATER_JWT_SECRET": SECRET},
    )


def bearer(subject: str, permissions: Iterable[str] = ()) -> dict[str, str]:
    """The header of a principal who may subscribe and publish everywhere and holds these permissions."""
    grants = {"subscribe": ["**"], "publish": ["**"]}
    claims = {"sub": subject, "exp": int(time.time()) + 86_400, "permissions": [*permissions], "headwater": grants}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}


HEADWATER_ON_UVICORN = System(
    name="headwater-uvicorn",
    title="Headwater on uvicorn",
    command=uvicorn("bench.systems.headwater_app:app"),
    stream="/",
    publish=Publish(path="/"),
    environment=_UNLIMITED,
)
