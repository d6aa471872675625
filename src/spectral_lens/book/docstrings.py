"""The package's docstrings, which are plain text, for a page: as reStructuredText, or their first sentence as Markdown.

A docstring is paragraphs between blank lines.  What is indented by four is an equation, drawn as it stands; what begins
with ">>>" is an example; `name` is code; [chicchi, eq. 11] is a source and becomes a citation where its key is known.
"""

import re
import string
from collections.abc import Collection

_SOURCE = r"\[[a-z]+(?:\d{4})?(?:[,;:] [^\[\]`]*)?\]"
_PIECES = re.compile(rf"(`[^`\n]+`|{_SOURCE})")
_KEY = re.compile(r"(?:(?<=\[)|(?<=; ))[a-z]+(?:\d{4})?(?=[\],;:])")
_SPECIAL = re.compile(f"([{re.escape(string.punctuation)}])")


def readable(lines: Collection[str], keys: Collection[str]) -> list[str]:
    r"""The docstring as reStructuredText; `keys`: of the bibliography.

    >>> print(*readable(["Twice `x`.", "", "    y = 2 x"], ()), sep="\n")
    Twice \ ``x``\ \.
    <BLANKLINE>
    .. parsed-literal::
    <BLANKLINE>
        y \= 2 x
    <BLANKLINE>
    """
    found: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = block.split("\n")
        if rows[0].lstrip().startswith(">>>"):
            found += [row.strip() if row.lstrip().startswith((">>>", "...")) else row for row in _flush(rows)]
        elif all(row.startswith("    ") for row in rows):
            found += [".. parsed-literal::", "", *(f"    {_marked(row[4:], keys)}" for row in rows)]
        else:
            found += [_prose(row, keys) for row in rows]
        found.append("")
    return found


def summary(text: str) -> str:
    r"""The first sentence, as Markdown without its source.

    >>> print(summary("Twice |x| of *all*, as `double`.  [chicchi, 5]  More of it."))
    Twice \|x\| of \*all\*, as `double`.
    """
    first = " ".join(re.sub(rf"\s*{_SOURCE}", "", text.split("\n\n")[0]).split())
    first = re.split(r"(?<=\.) (?=[A-Z])", first)[0]
    parts = _PIECES.split(first)
    return "".join(part if part.startswith("`") else re.sub(r"([*_|<>$\[\]{}\\~^])", r"\\\1", part) for part in parts)


def _flush(rows: list[str]) -> list[str]:
    indent = len(rows[0]) - len(rows[0].lstrip())
    return [row[indent:] for row in rows]


def _prose(row: str, keys: Collection[str]) -> str:
    bullet = re.match(r"\* ", row)
    return f"* {_marked(row[2:], keys)}" if bullet else _marked(row.rstrip(), keys)


def _marked(text: str, keys: Collection[str]) -> str:
    """One line with code and citations marked, and everything else as it stands."""
    return "".join(_piece(part, keys) for part in _PIECES.split(text))


def _piece(part: str, keys: Collection[str]) -> str:
    if part.startswith("`") and len(part) > 2:
        return f"\\ ``{part[1:-1]}``\\ "
    if re.fullmatch(_SOURCE, part) and any(key in keys for key in _KEY.findall(part)):
        pieces = re.split(rf"({_KEY.pattern})", part)
        return "".join(f"\\ :cite:alp:`{each}`\\ " if each in keys else _escaped(each) for each in pieces)
    return _escaped(part)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
