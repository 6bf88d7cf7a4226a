"""What the documentation site needs beside mkdocs.yml.

The repository's own layout, formulas without JavaScript, and tables of settings and methods, made from the code.
"""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from gtp_jax.config import methods, settings, tasks

PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md")
LINK = re.compile(r"\]\(([^)#:\s]+)[^)]*\)")
FROM_THE_NET = re.compile(r'<(?:script|link|img|iframe)[^>]* (?:src|href)="(?:https?:)?//[^"]*"')
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config) -> Files:
    """Pages lie where they lie in the repository, so that a relative link means the same in both.

    What pages link to (sources, pictures) comes with them; a link to what is not there fails the strict build.
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
    for name, table in (("settings", settings_table), ("methods", methods_table)):
        mark = f"<!-- table: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    return markdown


def on_page_content(html: str, **_) -> str:
    """Formulas as MathML, which browsers draw themselves; sources that a page asks for lie open.

    Raises:
      PluginError: for a formula that was not recognised and would be shown as TeX.
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


def comments() -> dict[str, str]:
    """The comment on the line of each setting in settings.py, by dotted name; the empty string where there is none."""
    source = inspect.getsource(settings)
    by_line = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }

    def walk(node: ast.Dict, prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(value, ast.Dict):
                yield from walk(value, f"{prefix}{key.value}.")
            else:
                yield prefix + key.value, by_line.get(key.lineno, "")

    (defaults,) = (
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and node.target.id == "DEFAULTS"
    )
    return dict(walk(defaults, ""))


def settings_table() -> str:
    """A row for each setting; below it, those that may be swept."""
    meaning = comments()
    lines = ["| setting | default | may be | |", "|---|---|---|---|"]
    for name, default in settings.flatten(settings.DEFAULTS):
        if not name.startswith("sweep."):
            lines.append(f"| `{name}` | `{default!r}` | {settings.allowed(name)} | {meaning[name]} |")
    swept = ", ".join(f"`{name}` (`{key}`)" for name, key in settings.HPARAMS.items())
    return "\n".join([*lines, "", f"May be swept, `--config.sweep.eta='(0.1, 1.0)'`: {swept}."])


def methods_table() -> str:
    """A row for each method, with what it changes on U-Maze."""
    lines = ["| method | changes, on U-Maze |", "|---|---|"]
    for name in methods.METHODS:
        changes = [f"`{key}={value}`" for key, value in methods.overrides(name, tasks.TASKS["antmaze-umaze"]).items()]
        lines.append(f"| `{name}` | {', '.join(changes) or 'nothing'} |")
    return "\n".join(lines)
