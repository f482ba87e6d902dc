"""Which settings are meant for a circuit: those of its name, and of patterns that it matches."""

from __future__ import annotations

import re
from collections.abc import Iterable

from supervisor.settings.notation import spelt


def is_pattern(key: str) -> bool:
    """Return whether settings of that key are for a family of circuits, such as `tenant:*`."""
    return "*" in key


def patterns_of(name: str, keys: Iterable[str]) -> list[str]:
    """Return the patterns that a name matches, from the shortest one to the longest."""
    matching = (key for key in keys if is_pattern(key) and key != name and _matches(key, name))
    return sorted(matching, key=lambda key: (len(key), key))


def keys_of(name: str, keys: Iterable[str]) -> list[str]:
    """Return what a circuit's own settings stand under: first as variables spell its name, then
    the very name, which goes first among settings from the same place.
    """
    own = [key for key in keys if key == name or _is_spelling(key, name)]
    return sorted(own, key=lambda key: key == name)


def whole_names(keys: Iterable[str]) -> list[str]:
    """Return the circuits and families that settings are meant for, in order.

    A variable tells only how a name is spelt. If the whole name stands elsewhere, that is it.
    """
    keys = list(keys)
    whole = {spelt(key) for key in keys if key != spelt(key) and not is_pattern(key)}
    return sorted(key for key in keys if key not in whole or key != spelt(key))


def regex_of(pattern: str) -> str:
    """Return a regular expression of the names that match, `*` being any characters.

    Each part is taken where it comes first, and nothing is tried twice: no name takes long.
    """
    first, *others = map(re.escape, pattern.split("*"))
    if not others:
        return first
    *inner, last = others
    return first + "".join(f"(?>.*?{part})" for part in inner) + f".*{last}"


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(regex_of(pattern), name) is not None


def _is_spelling(key: str, name: str) -> bool:
    if is_pattern(key) or is_pattern(name):
        return False
    return spelt(key) == spelt(name) != ""
