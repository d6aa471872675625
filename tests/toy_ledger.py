"""Ledgers of one small claim, to be changed by the tests."""

from pathlib import Path
from typing import Any

import yaml

from spectral_lens.claims.ledger import Claim, load

ENTRY: dict[str, Any] = {
    "id": "a.b", "where": "p. 1", "claim": "it is small", "kind": "value", "unit": "run", "measure": "its size",
    "printed": "0.1", "accept": [None, 1], "because": "it is said to be",
}  # fmt: skip


def ledger(folder: Path, *entries: dict[str, Any]) -> Path:
    """The file with these entries."""
    folder.mkdir(exist_ok=True)
    path = folder / "claims.yml"
    path.write_text(yaml.safe_dump(list(entries), sort_keys=False), encoding="utf-8")
    return path


def claim(folder: Path, **changes: Any) -> Claim:
    """The claim, with other or more fields."""
    return load(ledger(folder, ENTRY | changes))["a.b"]
