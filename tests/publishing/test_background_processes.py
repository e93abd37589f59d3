"""The publisher's own loop in real processes: forks of every kind, and the interpreter's end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from headwater.brokers import open_broker
from tests.support.redis import SharedServers

HEAD = "import os, sys, threading, headwater; events = headwater.publisher(sys.argv[1])\n"


def ran(program: str, url: str, *, files: Sequence[int] = (), **environment: str) -> None:
    """Run a program to its good end, in which it says nothing: every warning is an error, but for that of newer Pythons
    about forks with threads.

    Args:
        files: descriptors that it inherits.
        environment: variables added to ours.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", HEAD + program, url],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        pass_fds=files,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def logged(url: str) -> list[str]:
    """The data of all events in channel `a`."""

    async def read() -> list[str]:
        broker = open_broker(url)
        head = await broker.open()
        page = await broker.read(["a"], 0, head.seq)
        await broker.aclose()
        return [event.data for event in page.events]

    return asyncio.run(read())


FORKS = """
events.publish_sync("a", data="before")

def publish(name):
    for number in range(10):
        events.publish_sync("a", data=f"{name} {number}")

threads = [threading.Thread(target=publish, args=(f"thread {name}",)) for name in range(3)]
for thread in threads:
    thread.start()
children = []
for name in range(4):
    child = os.fork()
    if not child:
        publish(f"child {name}")
        os._exit(0)
    children.append(child)
for thread in threads:
    thread.join()
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
events.publish_sync("a", data="after")
"""


@pytest.mark.parametrize("place", ["sqlite", "redis"])
def test_parent_and_children_publish_after_a_fork(place: str, tmp_path: Path, redis_servers: SharedServers) -> None:
    """Though it was made with the log open and while other threads published: nobody hangs, and every event is there
    once."""
    url = redis_servers.url() if place == "redis" else f"sqlite:///{tmp_path}/log.db"
    ran(FORKS, url)
    names = [f"thread {name}" for name in range(3)] + [f"child {name}" for name in range(4)]
    expected = [f"{name} {number}" for name in names for number in range(10)] + ["before", "after"]
    assert sorted(logged(url)) == sorted(f'"{each}"' for each in expected)


FOREIGN_FORK = """
import ctypes
events.publish_sync("a")
child = ctypes.PyDLL(None).fork()
if not child:
    ctypes.pythonapi.PyOS_AfterFork_Child()
    events.publish_sync("a")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
events.publish_sync("a")
"""


def test_a_child_publishes_after_a_fork_that_python_did_not_see_coming(redis_servers: SharedServers) -> None:
    """uWSGI forks by itself and tells Python afterwards."""
    url = redis_servers.url()
    ran(FOREIGN_FORK, url)
    assert len(logged(url)) == 3


def test_a_program_may_end_without_closing(tmp_path: Path) -> None:
    """What was published is in the log, and nothing is said."""
    url = f"sqlite:///{tmp_path}/log.db"
    ran('events.publish_sync("a", data=1)', url)
    ran('import atexit; atexit.register(lambda: events.publish_sync("a", data=2))', url)
    assert logged(url) == ["1", "2"]


OUTAGE = """
import socket
from headwater.publishing import background
background.END_WITHIN = 0.05
thread = threading.Thread(target=events.publish_sync, args=("a",), daemon=True)
thread.start()
hub = socket.socket(fileno=int(os.environ["HUB"]))
hub.accept()[0].detach()  # the connection stays open
hub.detach()
"""


def test_an_outage_does_not_keep_a_program_from_ending() -> None:
    """A hub took the connection and says nothing; at the interpreter's end that is waited for, but not long."""
    with socket.create_server(("127.0.0.1", 0)) as hub:
        ran(OUTAGE, f"http://127.0.0.1:{hub.getsockname()[1]}", files=[hub.fileno()], HUB=str(hub.fileno()))
