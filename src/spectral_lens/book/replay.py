"""The quick run of a chapter as a witness for its paper record: same code executed, same numbers printed."""

import hashlib
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import nbformat

from spectral_lens.book.fingerprints import Ran

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?!\w)|\b(?:nan|inf)\b", re.IGNORECASE)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SAID = ("text/plain", "text/markdown")
IGNORED = {"nbval-ignore-output", "nbval-skip"}


def numbers(reference: nbformat.NotebookNode) -> list[str]:
    """The numbers that the reference prints, in order.

    Without what stands in HTML (a card repeats the ledger's) and in cells that nbval ignores; a reference has no sizes
    of figures.
    """
    return [number for text in _texts(reference) for number in _NUMBER.findall(_ADDRESS.sub("", text))]


def kept(reference: nbformat.NotebookNode, ran: Ran) -> dict[str, Any]:
    """What a paper record keeps: a hash of the numbers, and what ran in it that does not run in the quick reference."""
    quick = set(_names(reference.metadata["spectral_lens"]["ran"]))
    return {"numbers": _hash(numbers(reference)), "unseen": sorted(set(_names(ran)) - quick)}


def objection(
    then: Mapping[str, Any] | None, reference: nbformat.NotebookNode, changed: Iterable[str], present: Container[str]
) -> str | None:
    """Why the present reference does not vouch for the record that keeps `then`; None where it does.

    It has to print the same numbers and to execute all of `changed` (names); of those that are no longer `present`, it
    has to have executed them.
    """
    if then is None:
        return "the record was made without a current quick reference beside it"
    printed = numbers(reference)
    if not printed:
        return "the quick run prints no numbers"
    if _hash(printed) != then["numbers"]:
        return "the quick run prints other numbers"
    quick, unseen = set(_names(reference.metadata["spectral_lens"]["ran"])), then["unseen"]
    missing = [name for name in changed if name not in quick and (name in present or name in unseen)]
    return f"the quick run does not execute {', '.join(missing)}" if missing else None


def _texts(reference: nbformat.NotebookNode) -> Iterator[str]:
    for cell in reference.cells:
        if cell.cell_type != "code" or IGNORED & set(cell.metadata.get("tags", [])):
            continue
        for output in cell.outputs:
            if output.output_type == "stream":
                yield output.text
            else:
                yield from (output.data[kind] for kind in _SAID if kind in output.get("data", {}))


def _names(ran: Ran) -> Iterator[str]:
    for names in ran.values():
        yield from names


def _hash(numbers: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(numbers).encode()).hexdigest()[:16]
