"""Taking the fenced blocks out of the documentation's pages.

A block names its language. `text` and `math` are not code. A block's title, which readers of the site see above it, is
one of NEEDS, and then it does not run here, or a file's path, and then it is saved there.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md") + tuple(
    sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
)
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}
NEEDS = ("needs a network", "needs a GPU", "needs a TPU", "needs several hosts")
NOT_CODE = ("text", "math")


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int  # of its first line of content
    language: str
    title: str
    text: str

    @property
    def runs(self) -> bool:
        return self.language not in NOT_CODE and self.title not in NEEDS


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page; ValueError for one that neither runs nor says why not."""
    found = []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.lstrip().startswith("```"):
            continue
        indent = len(line) - len(line.lstrip())
        language, _, options = line.strip()[3:].partition(" ")
        title = re.search(r'title="([^"]*)"', options)
        content = []
        for _, inner in lines:
            if inner.strip() == "```":
                break
            content.append(inner[indent:])
        block = Block(number + 1, language, title[1] if title else "", "\n".join(content) + "\n")
        if language not in (*NOT_CODE, "python", "bash"):
            raise ValueError(f"line {number}: a block of language {language!r}; name python, bash, text or math")
        if title and block.title not in NEEDS and not Path(block.title).suffix:
            raise ValueError(f"line {number}: the title {block.title!r} is neither a file nor one of {NEEDS}")
        found.append(block)
    return found
