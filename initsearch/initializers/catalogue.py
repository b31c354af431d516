"""The catalogue as a Markdown table, for the README."""

from dataclasses import fields

from initsearch.initializers.base import Initializer
from initsearch.initializers.registry import RegistryEntry, entries


def catalogue_table() -> str:
    """A Markdown table of all built-in initializers: names, formula, tunables, source.

    Families come first, with their tunables and defaults; then the presets, with the setting that each
    names. Aliases share their preset's row. Initializers that users register are left out.
    """
    builtin = {name: entry for name, entry in entries() if entry.builtin}
    families = [(name, entry) for name, entry in builtin.items() if entry.preset is None]
    settings = [
        (name, entry)
        for name, entry in builtin.items()
        if entry.preset is not None and entry.alias_of is None
    ]
    rows = [
        "| name | draws | tunables and defaults | source |",
        "| --- | --- | --- | --- |",
    ]
    for name, entry in sorted(families) + settings:
        names = [name, *(other for other, each in builtin.items() if each.alias_of == name)]
        cells = (
            ", ".join(f"`{each}`" for each in names),
            entry.formula,
            _tunables(entry),
            entry.source,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _tunables(entry: RegistryEntry) -> str:
    names = [field.name for field in fields(entry.family)]
    defaults = entry.preset if entry.preset is not None else entry.family()
    pairs = [f"{name}={_short(getattr(defaults, name))}" for name in names]
    if entry.preset is None:
        return ", ".join(f"`{pair}`" for pair in pairs) or "none"
    return f"`{entry.family.name}({', '.join(pairs)})`"


def _short(value: object) -> str:
    if isinstance(value, Initializer):
        return value.label()
    return f"{value:g}" if isinstance(value, float) else str(value)
