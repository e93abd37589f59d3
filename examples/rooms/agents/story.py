"""The story agent: a ghost story of a certain length, in which every word that was asked for appears.

Writes story.md for people and story.json for the agents after it.
"""

from __future__ import annotations

import random

import msgspec

from examples.rooms.agents.job import AgentFailed, Chamber, Job, Metadata, Story
from examples.rooms.logs import Level

LENGTH = range(75, 126)
"""Words a story may have; more of them for each word that was asked for. A draft that misses it is thrown away and another
one is written."""

PER_WORD = 12

DRAFTS = 16  # about every second one fits; six of them still failed in one room of sixty

OPENINGS = (
    "Nobody had slept in {title} since the winter in which the clocks stopped agreeing with each other.",
    "The lawyer who sold {title} would not come further than the gate.",
    "By day {title} was only a house; it took one evening of rain to make it something else.",
    "They left {title} to the last of the family, together with a list of doors that were to stay shut.",
)
CHAMBERS = (
    *("the pantry", "the map room", "the music room", "the cellar", "the observatory", "the winter garden"),
    *("the nursery", "the library", "the laundry", "the hall of coats"),
)
GHOSTS = (
    *("a clockmaker without a shadow", "a choir of moths", "a cook who salts the air", "a pupil late for lessons"),
    *("a sailor who drips and apologises", "two sisters in one dress", "a piano tuner", "somebody's patient dog"),
)
THINGS = (
    *("a key made of ice", "a letter to nobody", "a bell that rings backwards", "a lamp full of rain"),
    *("a map of the next house", "a glove that waves", "a spoon that remembers soup", "half a photograph"),
)
VISITS = (
    "In {name} {ghost} was keeping {thing}.",
    "{Name} belonged to {ghost}, who would not put down {thing}, not even to shake hands.",
    "Behind the next door lay {name}, and in it {thing}; {ghost} had been guarding it for longer than anyone had asked.",
    "Something breathed in {name}. It was {ghost}, holding {thing} up to what was left of the light.",
)
WORDS = (
    "On the wall of the stairs somebody had written the word “{word}”, and somebody else had underlined it.",
    "Then the whole house whispered: {word}.",
    "There was a smell of {word}, and then there was not.",
)
ENDINGS = (
    "In the morning the rooms were empty and all the beds were made.",
    "Nobody was lost. But when they counted themselves at the gate, there was one more of them.",
    "The house sighed, as houses do that have been listened to.",
)


async def write_story(job: Job) -> Metadata:
    """Write until a draft fits."""
    await job.say(Level.INFO, "Starting story generation", {"words": list(job.room.words), "attempt": job.attempt})
    dice = job.dice("story")
    for draft in range(1, DRAFTS + 1):
        story = compose(job.room.title, job.room.words, dice)
        length = len(story.text.split())
        allowed = range(LENGTH.start, LENGTH.stop + PER_WORD * len(job.room.words))
        if length in allowed:
            break
        wanted = f"{allowed.start} to {allowed.stop - 1}"
        await job.say(Level.WARN, f"Draft {draft} has {length} words, wanted {wanted}: writing another")
    else:
        raise AgentFailed(f"none of {DRAFTS} drafts had the right length")
    for chamber in story.chambers:
        await job.say(Level.INFO, f"Haunting {chamber.name}", {"ghost": chamber.ghost, "thing": chamber.thing})
    (job.folder / "story.md").write_text(f"# {story.title}\n\n{story.text}\n")
    (job.folder / "story.json").write_bytes(msgspec.json.encode(story))
    return {"file": "story.md", "words": length, "drafts": draft, "chambers": len(story.chambers)}


def compose(title: str, words: tuple[str, ...], dice: random.Random) -> Story:
    """One draft."""
    count = dice.randint(3, 5)
    picked = zip(dice.sample(CHAMBERS, count), dice.sample(GHOSTS, count), dice.sample(THINGS, count), strict=True)
    chambers = tuple(Chamber(*each) for each in picked)
    visits = [
        dice.choice(VISITS).format(
            name=chamber.name, Name=chamber.name.capitalize(), ghost=chamber.ghost, thing=chamber.thing
        )
        for chamber in chambers
    ]
    asides = [dice.choice(WORDS).format(word=word) for word in words]
    middle = visits + asides
    dice.shuffle(middle)
    # format() only ever sees our own templates: braces in a title or a word are text by then.
    text = " ".join([dice.choice(OPENINGS).format(title=title), *middle, dice.choice(ENDINGS)])
    return Story(title, chambers, text)
