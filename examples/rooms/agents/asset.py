"""The asset agent: a picture of the house, with a lit window for each chamber of the story and its ghosts in the sky.

Draws house.svg and reads it back as XML before it says that it is done.
"""

from __future__ import annotations

import random
from xml.etree import ElementTree

from examples.rooms.agents.job import AgentFailed, Job, Metadata, Story, read_story
from examples.rooms.logs import Level

WIDTH, HEIGHT = 640, 400
GROUND = 340
SVG = "http://www.w3.org/2000/svg"


async def draw_house(job: Job) -> Metadata:
    """Draw, check, save."""
    story = read_story(job.folder)
    dice = job.dice("asset")
    await job.say(Level.INFO, f"Rendering the house at {WIDTH} by {HEIGHT}", {"windows": len(story.chambers)})
    picture = ElementTree.Element("svg", xmlns=SVG, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    ElementTree.SubElement(picture, "title").text = story.title
    layers = {"sky": sky, "house": house, "windows": windows, "ghosts": ghosts}
    for name, draw in layers.items():
        layer = ElementTree.SubElement(picture, "g", id=name)
        draw(layer, story, dice)
        await job.say(Level.INFO, f"Layer {name}: {len(layer)} shapes")
    text = ElementTree.tostring(picture, encoding="unicode")
    lit = len(ElementTree.fromstring(text).findall(f".//{{{SVG}}}g[@id='windows']/{{{SVG}}}rect"))
    if lit != len(story.chambers):
        raise AgentFailed(f"the picture has {lit} lit windows, the story has {len(story.chambers)} chambers")
    (job.folder / "house.svg").write_text(text)
    return {"file": "house.svg", "bytes": len(text.encode()), "shapes": sum(1 for _ in picture.iter()) - 1}


def shape(layer: ElementTree.Element, kind: str, **attributes: object) -> None:
    """Add a shape; `_` in names stands for `-`."""
    ElementTree.SubElement(layer, kind, {name.replace("_", "-"): str(value) for name, value in attributes.items()})


def sky(layer: ElementTree.Element, story: Story, dice: random.Random) -> None:
    """Night, a moon, and stars."""
    hue = dice.randint(215, 275)
    for band in range(8):  # bands instead of a gradient: nothing in the file refers to anything
        fill = f"hsl({hue} 45% {9 + 3 * band}%)"
        shape(layer, "rect", x=0, y=band * 50, width=WIDTH, height=50, fill=fill, shape_rendering="crispEdges")
    x, y, size = dice.randint(60, 580), dice.randint(50, 100), dice.randint(22, 38)
    inner = 1.25 * size
    crescent = f"M{x} {y - size} A{size} {size} 0 0 0 {x} {y + size} A{inner} {inner} 0 0 1 {x} {y - size}Z"
    shape(layer, "path", d=crescent, fill="hsl(48 80% 86%)")
    for _ in range(40):
        star = {"cx": dice.randint(0, WIDTH), "cy": dice.randint(0, 220), "r": dice.choice((0.6, 0.9, 1.4))}
        shape(layer, "circle", **star, fill="white", opacity=dice.choice((0.4, 0.7, 1)))


def house(layer: ElementTree.Element, story: Story, dice: random.Random) -> None:
    """Ground, walls, roofs, a door."""
    dark = "hsl(250 25% 7%)"
    shape(layer, "path", d=f"M0 {GROUND} Q320 {GROUND - 40} {WIDTH} {GROUND} V{HEIGHT} H0Z", fill="hsl(250 30% 10%)")
    shape(layer, "rect", x=190, y=180, width=260, height=165, fill=dark)
    shape(layer, "path", d="M170 182 L320 84 L470 182Z", fill=dark)
    tower = dice.choice((160, 430))
    top = dice.randint(96, 130)
    shape(layer, "rect", x=tower, y=top, width=56, height=345 - top, fill=dark)
    shape(layer, "path", d=f"M{tower - 10} {top + 2} L{tower + 28} {top - 62} L{tower + 66} {top + 2}Z", fill=dark)
    shape(layer, "rect", x=dice.randint(350, 390), y=92, width=18, height=52, fill=dark)
    shape(layer, "path", d="M300 345 V300 Q320 278 340 300 V345Z", fill="hsl(250 20% 14%)")


def windows(layer: ElementTree.Element, story: Story, dice: random.Random) -> None:
    """One lit window for each chamber."""
    places = [(x, y) for y in (205, 255) for x in (215, 265, 350, 400)]
    for x, y in dice.sample(places, len(story.chambers)):
        glow = f"hsl({dice.randint(38, 52)} 90% {dice.randint(58, 72)}%)"
        shape(layer, "rect", x=x, y=y, width=24, height=32, rx=2, fill=glow)


def ghosts(layer: ElementTree.Element, story: Story, dice: random.Random) -> None:
    """One ghost for each chamber; their eyes are holes."""
    for number, _ in enumerate(story.chambers):
        x = 50 + number * (540 // len(story.chambers)) + dice.randint(0, 30)
        y, size = dice.randint(110, 250), dice.randint(12, 20)
        eyes = "".join(f"M{x + at} {y} a2 3 0 1 0 0.1 0Z" for at in (-size // 3, size // 3))
        body = (
            f"M{x - size} {y + 2 * size} V{y} A{size} {size} 0 0 1 {x + size} {y} V{y + 2 * size} "
            f"l{-size / 2} {-size / 3} l{-size / 2} {size / 3} l{-size / 2} {-size / 3}Z"
        )
        shape(layer, "path", d=body + eyes, fill="white", opacity=dice.choice((0.5, 0.65, 0.8)), fill_rule="evenodd")
