"""Reading the documentation's pages: fenced blocks, links and headings.

A block names its language; `text` and `math` are not code. A block's title is one of NEEDS, and then it does not run
here, or a file's path, and then it is saved there.
"""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "examples/README.md",
)
PAGES = OUTSIDE + tuple(sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}
NEEDS = ("needs a network", "needs a GPU", "needs a TPU", "needs several hosts", "needs minutes")


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int  # of its first line of content
    language: str
    title: str
    text: str

    @property
    def runs(self) -> bool:
        return self.language in ("python", "bash") and self.title not in NEEDS


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page; ValueError for one that neither runs nor names its need."""
    found, lines = [], iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line.lstrip().startswith("```"):
            indent, (language, _, options) = len(line) - len(line.lstrip()), line.strip()[3:].partition(" ")
            title = (re.findall(r'title="([^"]*)"', options) or [""])[0]
            inside = itertools.takewhile(lambda each: each[1].strip() != "```", lines)
            if language not in ("python", "bash", "text", "math"):
                raise ValueError(f"line {number}: a block of language {language!r}; name python, bash, text or math")
            if title and title not in NEEDS and not Path(title).suffix:
                raise ValueError(f"line {number}: the title {title!r} is neither a file nor one of {NEEDS}")
            content = "".join(f"{each[indent:]}\n" for _, each in inside)
            found.append(Block(number + 1, language, title, content))
    return found


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}
