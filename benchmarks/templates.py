"""The wording of the tables, tables.md, filled with committed results."""

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import shared

Rows = dict[str, dict[str, Any]]  # values by a row's name


def source(found: Mapping[str, Any], *others: Mapping[str, Any]) -> str:
    """Where numbers come from, in one line; others' may differ in their commits alone."""
    device, commits = found["device"], dict.fromkeys(str(each["commit"])[:10] for each in (found, *others))
    return (
        f"`{found['command']}`; {device['platform']}, {device['host_cores']} cores of "
        f"{device.get('cpu', 'an unrecorded CPU')}; jax {found['versions']['jax']}; {found['date'][:10]}; commit "
        f"{', '.join(commits)}."
    )


def result(name: str) -> Any:
    """A committed result, as "speed/peers"; it and its parts that have a source of their own hold it as `source`."""
    found = shared.read(shared.RESULTS / f"{name}.json")
    for each in (found, *found.values()):
        if isinstance(each, dict) and "command" in each:
            each["source"] = source(each)
    return found


class _Filled(string.Formatter):
    """Formats `{times[5]:.1f}` of nested dicts; a value that is missing leaves its place empty."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, str]:
        value = kwargs
        for key in field_name.replace("]", "").split("["):
            value = value.get(key) if isinstance(value, dict) else None
        return value, field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        return "" if value is None else format(value, format_spec)


def fill(template: str, rows: Rows, facts: Mapping[str, Any]) -> str:
    """A template of tables.md with the values of its rows, and the facts in all other lines."""
    text = Path(__file__).with_name("tables.md").read_text().partition(f"# {template}\n")[2].partition("\n# ")[0]
    lines = []
    for line in text.strip().splitlines():
        of_rows = [{"name": name, **values} for name, values in rows.items()] if "{name}" in line else [facts]
        lines += [_Filled().format(line, **values) for values in of_rows]
    return "\n".join(lines)
