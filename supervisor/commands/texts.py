"""Texts from elsewhere, as a terminal may get them."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text on one line, with all escaped that could tell a terminal what to do."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
