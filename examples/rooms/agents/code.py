"""The code agent: a program that walks through the house of the story. It is compiled, run, and its output read.

Writes tour.py and what it printed, transcript.txt. The program runs in a process of its own, isolated from the environment,
for a few seconds at most.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from pprint import pformat

from examples.rooms.agents.job import AgentFailed, Job, Metadata, Story, read_story
from examples.rooms.logs import Level

PATIENCE = 10.0
"""Seconds the program may take."""

PROGRAM = '''\
"""A walk through a haunted house."""

TITLE = {title}

CHAMBERS = {chambers}


def walk(chambers):
    """Enter every chamber, greet whoever is there, and take what lies about."""
    bag = []
    for number, (name, ghost, thing) in enumerate(chambers, 1):
        yield f"{{number}}. You enter {{name}} and greet {{ghost}}."
        bag.append(thing)
    yield f"You leave with {{len(bag)}} things: {{', '.join(bag)}}."


if __name__ == "__main__":
    print(TITLE)
    for line in walk(CHAMBERS):
        print(line)
'''


async def write_program(job: Job) -> Metadata:
    """Write it, compile it, run it, check what it says."""
    story = read_story(job.folder)
    path = job.folder / "tour.py"
    source = program(story)
    await job.say(Level.INFO, "Writing tour.py", {"lines": source.count("\n")})
    path.write_text(source)
    code = compile(source, path.name, "exec")
    await job.say(Level.INFO, f"Compiled to {len(code.co_code)} bytes of bytecode", {"names": list(code.co_names)})
    begun = time.perf_counter()
    output = await run(path)
    seconds = round(time.perf_counter() - begun, 3)
    missing = [chamber.thing for chamber in story.chambers if chamber.thing not in output]
    if missing:
        raise AgentFailed(f"the tour never came across {missing[0]}")
    (job.folder / "transcript.txt").write_text(output)
    await job.say(Level.INFO, f"tour.py ran for {seconds} s", {"output": output.splitlines()[-1]})
    return {"file": "tour.py", "lines": source.count("\n"), "exitCode": 0, "seconds": seconds}


def program(story: Story) -> str:
    """The source. Text from outside gets in as literals only."""
    chambers = [(chamber.name, chamber.ghost, chamber.thing) for chamber in story.chambers]
    return PROGRAM.format(title=repr(story.title), chambers=pformat(chambers, width=100))


async def run(path: Path) -> str:
    """What the program prints.

    Raises:
        AgentFailed: it took too long, or ended with an error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-X", "utf8", path.name),
        cwd=path.parent,
        env={},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, errors = await process.communicate()
    except TimeoutError:
        raise AgentFailed(f"{path.name} was still running after {PATIENCE:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise AgentFailed(f"{path.name} ended with code {process.returncode}: {errors.decode(errors='replace')[-200:]}")
    return output.decode()
