"""What is read out of texts: words, titles, headings, and what might be worth a node of its own.

Pure: texts in, values out. Must not know files, databases or jobs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

LETTERS: Final = 4
"""Of a word that means something."""

WORDS: Final = 2
"""That mean something, in a heading that is worth looking at."""

MOST: Final = 12
"""Proposals of one job: more than that nobody decides on."""

_WORD = re.compile(r"[^\W\d_]+(?:[\'\u2019-][^\W\d_]+)*")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PARAGRAPH = re.compile(r"\n\s*\n")
_HEADING = re.compile(r"^#{1,3}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_CODE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_COMMON: Final = frozenset(
    _WORD.findall(
        "about after again also always another because been before being between both cannot come does each every "
        "from give have here into itself just like make many more most much must need never nothing only other "
        "over same some such than that their them then there these they thing things this those through under "
        "until used uses very what when where which while whoever whose will with within without would your"
    )
)


@dataclass(frozen=True)
class Section:
    """A heading and the text below it, up to the next one."""

    heading: str
    text: str


@dataclass(frozen=True)
class Document:
    """What was found in one text."""

    name: str
    title: str
    sections: tuple[Section, ...]
    words: int
    vocabulary: frozenset[str] = field(repr=False)


@dataclass(frozen=True)
class Proposal:
    """A heading that might be worth a node of its own.

    Attributes:
        source: the name of the document it is from.
        summary: the beginning of its section.
        confidence: see `propose`.
    """

    source: str
    title: str
    summary: str
    confidence: float


def words_of(text: str) -> list[str]:
    """The words of a text that mean something, in lower case."""
    return [word for word in _WORD.findall(text.lower()) if len(word) >= LETTERS and word not in _COMMON]


def read(name: str, text: str) -> Document:
    """A document: Markdown and plain text by its `#` headings, Python by the docstrings of what it defines."""
    title, sections = _of_python(text) if name.endswith(".py") else _of_markdown(text)
    return Document(name, title or name, sections, len(_WORD.findall(text)), frozenset(words_of(text)))


def _of_markdown(text: str) -> tuple[str, tuple[Section, ...]]:
    text = _LINK.sub(r"\1", _CODE.sub("", text))
    found = list(_HEADING.finditer(text))
    sections = []
    ends = [following.start() for following in found[1:]] + [len(text)]
    for heading, end in zip(found, ends, strict=False):
        sections.append(Section(heading[1].replace("`", ""), text[heading.end() : end].strip()))
    return sections[0].heading if sections else "", tuple(sections)


def _of_python(text: str) -> tuple[str, tuple[Section, ...]]:
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError):
        return "", ()
    classes = [each for each in module.body if isinstance(each, ast.ClassDef)]
    sections = (Section(_HUMP.sub(" ", each.name), ast.get_docstring(each) or "") for each in classes)
    return (ast.get_docstring(module) or "").partition("\n")[0], tuple(sections)


def propose(documents: Sequence[Document]) -> list[Proposal]:
    """The headings most worth a node, the most confident first.

    Confidence says how far the folder bears a heading out, from 0 to 1: a half is the share of its words that its own section
    takes up; a quarter grows with the other documents that use all of its words, up to four; and a quarter is what these lack
    to being all there are, because what everybody speaks of marks nothing out.
    """
    found: dict[str, Proposal] = {}
    for document in documents:
        for section in document.sections:
            words = set(words_of(section.heading))
            if len(words) < WORDS or not section.text:
                continue
            borne = len(words & set(words_of(section.text))) / len(words)
            others = sum(words <= other.vocabulary for other in documents if other is not document)
            rare = 1 - others / max(1, len(documents) - 1)
            confidence = round(0.5 * borne + 0.25 * min(1, others / 4) + 0.25 * rare, 2)
            proposal = Proposal(document.name, section.heading, _summary(section.text), confidence)
            if section.heading not in found or found[section.heading].confidence < confidence:
                found[section.heading] = proposal
    return sorted(found.values(), key=lambda each: (-each.confidence, each.title))[:MOST]


def _summary(text: str) -> str:
    """The first paragraph that is prose, or whatever there is, without the marks of Markdown."""
    paragraphs = _PARAGRAPH.split(text)
    first = next((each for each in paragraphs if each[:1].isalpha() or each[:1] in "`*"), paragraphs[0])
    first = " ".join(first.replace("`", "").replace("**", "").split())
    return first if len(first) <= 160 else first[:159].rsplit(" ", 1)[0] + "…"
