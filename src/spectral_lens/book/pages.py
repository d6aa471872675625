"""What a page says about its record, as MyST text: the lines under the title and the block at its end."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from spectral_lens.book.records import Status

_NAMED = 6  # of the functions that changed; `spectral-lens check` has them all
QUICK = (
    "Quick profile: small data that comes with the package. Claims are shown; only those that hold at any scale are "
    "judged. "
    "`make book PROFILE=paper` builds this page from the recorded run at the paper's scale."
)


def anchor(claim: str) -> str:
    """The label of the cell that measures `claim`, on the chapter's page."""
    return "claim-" + claim.replace(".", "-").replace("_", "-")


def top(about: Mapping[str, Any], profile: str, status: Status) -> list[str]:
    """The lines under the title: the quick profile's limits, and what has changed since the run."""
    notes = [] if profile == "paper" else [f":::{{container}} lens-profile\n{QUICK}\n:::"]
    names = ", ".join(f"`{name}`" for name in status.changed[:_NAMED])
    names += f" and {len(status.changed) - _NAMED} more" if len(status.changed) > _NAMED else ""
    if status.state == "verified":
        notes.append(
            ":::{container} lens-verified\n"
            f"Computed on {_date(about)}. Since then {names} changed; the quick run of this chapter executes all of it "
            "and prints the same numbers as before.\n:::"
        )
    elif status.state == "older":
        why = f" ({status.reason})" if status.reason else ""
        notes.append(
            ":::{admonition} This record is older than the code\n:class: warning lens-older\n"
            f"Computed on {_date(about)}; since then {names} changed{why}. "
            f"`spectral-lens run {about['chapter']} --profile {profile}` computes it again.\n:::"
        )
    return notes


def missing(chapter: str, profile: str, reason: str) -> str:
    """The note of a page that has no current record."""
    return (
        ":::{admonition} Not computed yet\n:class: warning lens-missing\n"
        f"This page shows the code without results ({reason}). "
        f"`spectral-lens run {chapter} --profile {profile}` computes them.\n:::"
    )


def provenance(about: Mapping[str, Any], record: str = "") -> str:
    """The collapsed block "How this page was computed", with the record to download.

    record: the record's path from the book's root; the builder copies the file into the site.
    """
    facts = [*_facts(about), ("Notebook", f"{{download}}`executed notebook </{record}>`" if record else "")]
    rows = "\n".join(f"* - {name}\n  - {value}" for name, value in facts if value)
    table = f":::{{list-table}}\n:stub-columns: 1\n:class: lens-facts\n\n{rows}\n:::"
    return f"::::{{dropdown}} How this page was computed\n:class-container: lens-provenance\n\n{table}\n::::"


def _facts(about: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "Profile", f"`{about['profile']}`"
    yield "Parameters", ", ".join(f"`{name} = {value!r}`" for name, value in about.get("parameters", {}).items())
    yield "Date", _date(about)
    yield "Duration", duration(about.get("duration"))
    threads = about.get("threads")
    yield "Device", f"{about.get('device', 'cpu')}" + (f", {threads} thread{'s' * (threads != 1)}" if threads else "")
    yield "Versions", ", ".join(f"{name} {value}" for name, value in about.get("versions", {}).items())
    if about.get("commit"):
        yield "Commit", f"`{about['commit'][:12]}`" + (", with changes not committed" if about.get("dirty") else "")
    sets = [f"{data['name']}, {data['edition']} (`{data['sha256'][:8]}`)" for data in about.get("data", [])]
    yield "Data", "; ".join(dict.fromkeys(sets))


def _date(about: Mapping[str, Any]) -> str:
    return f"{datetime.fromisoformat(about['date']):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float | int | None) -> str:
    """`seconds` for a reader: "0.8 s", "42 s", "3 min 20 s", "1 h 05 min"."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"
