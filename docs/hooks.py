"""Hooks of the documentation site: the repository's layout, formulas as MathML, and tables made from the code."""

import re
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from gtp_jax.config import methods, table, tasks

PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "examples/README.md",
)
LINK = re.compile(r"\]\(([^)#:\s]+)[^)]*\)")
FROM_THE_NET = re.compile(r'<(?:script|link|img|iframe)[^>]* (?:src|href)="(?:https?:)?//[^"]*"')
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config) -> Files:
    """Places every page at its path in the repository, so that a relative link works in both.

    The files that pages link to (sources, pictures) are added; a link to a missing file fails the strict build.
    """
    root = Path(config.config_file_path).parent
    pages = [*PAGES, *(f"docs/{file.src_uri}" for file in files if file.is_documentation_page())]
    linked = {"docs/extra.css", "docs/iframe-worker.js"}
    for page in pages:
        for link in LINK.findall((root / page).read_text()):
            target = (root / page).parent.joinpath(link).resolve()
            if target.is_file() and target.is_relative_to(root):
                linked.add(target.relative_to(root).as_posix())
    own = [File(path, str(root), config.site_dir, False) for path in sorted({*pages, *linked})]
    return Files([*own, *(file for file in files if file.src_dir != config.docs_dir)])


def on_page_markdown(markdown: str, **_) -> str:
    """Puts the tables where a page asks for them."""
    for name, made in (("settings", settings_table), ("methods", methods_table)):
        mark = f"<!-- table: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    return markdown


def on_page_content(html: str, **_) -> str:
    """Turns formulas into MathML, which browsers draw themselves, and opens the sources that a page shows.

    Raises PluginError for a formula that was not recognised and would be shown as TeX.
    """

    def formula(match: re.Match) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(unescape(match[2].strip()), display=display)

    html = FORMULA.sub(formula, html)
    if 'class="arithmatex"' in html:
        raise PluginError("a formula is left over; docs/hooks.py looks for what pymdownx.arithmatex writes")
    return html.replace('<details class="mkdocstrings-source">', '<details class="mkdocstrings-source" open>')


def on_post_page(output: str, page, **_) -> None:
    """Raises PluginError for a page that would load something from the network."""
    if found := FROM_THE_NET.search(output):
        raise PluginError(f"{page.file.src_uri} loads from the network: {found[0]}")


def settings_table() -> str:
    """A row for each setting."""
    lines = ["| setting | default | allowed | only for | meaning |", "|---|---|---|---|---|"]
    for row in table.reference():
        notes = [row.doc]
        if row.hparam:
            notes.append(f"Swept by `--config.sweep.{row.hparam}`.")
        if row.free:
            notes.append("Free on resume.")
        cells = (f"`{row.name}`", f"`{row.default!r}`", row.allowed, ", ".join(row.owners), " ".join(notes))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def methods_table() -> str:
    """A row for each method, with the settings that it changes on U-Maze."""
    lines = ["| method | changes, on U-Maze |", "|---|---|"]
    for name in methods.METHODS:
        changes = [f"`{key}={value}`" for key, value in methods.overrides(name, tasks.TASKS["antmaze-umaze"]).items()]
        lines.append(f"| `{name}` | {', '.join(changes) or 'nothing'} |")
    return "\n".join(lines)
