"""The scorecard as rows: every claim of the ledger beside what the records measured, and a second look at it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from spectral_lens import claims
from spectral_lens.book import chapters, records, second
from spectral_lens.claims import cards
from spectral_lens.claims.ledger import AS_PRINTED

__all__ = [
    "FRESH", "PAPERS", "UNMEASURED", "VERDICTS", "Reading", "Row", "Second", "rows", "second_looks", "summary",
]  # fmt: skip

PAPERS = {
    "giambagli": ("Giambagli et al. (2021)", "Machine learning in spectral domain"),
    "chicchi": ("Chicchi et al. (2026)", "Estimating global input relevance"),
    "maess": ("Maess et al. (2025)", "Structure of explanation quality"),
    "katende": ("Katende (2026)", "Matrix-spectral stability and interpretability"),
}
UNMEASURED = "not measured yet"
VERDICTS = (
    "identity holds", "bound holds", "reproduced", "reproduced in another reading", "undecided", "not reproduced",
    "no criterion", "quick only", UNMEASURED,
)  # fmt: skip
FRESH = 1000  # seeds from here on were not looked at before the estimator was fixed


@dataclass(frozen=True)
class Reading:
    """One way in which a claim was read: what was measured, its verdict, and the chapter that measured it.

    fresh: whether the record's seeds were ones that nobody had looked at; None where it has none.
    """

    name: str
    measured: claims.Measured
    judged: claims.Judgement
    chapter: str = ""
    fresh: bool | None = None


@dataclass(frozen=True)
class Second:
    """A second look at a claim: the same chapter rerun with other seeds or on another machine."""

    reading: Reading
    date: str
    machine: str
    device: str
    first_seed: int | None
    commit: str | None


@dataclass(frozen=True)
class Row:
    """One claim of the ledger with the readings that records measured, as printed first, and the second looks."""

    claim: claims.Claim
    readings: tuple[Reading, ...] = ()
    seconds: tuple[Second, ...] = ()

    @property
    def id(self) -> str:
        """The claim's name."""
        return self.claim.id

    @property
    def paper(self) -> str:
        """The paper's key, the first part of the claim's name."""
        return self.id.split(".", 1)[0]

    @cached_property
    def headline(self) -> Reading | None:
        """The reading that the verdict rests on; None where no record measured the claim."""
        if not self.readings:
            return None
        judged = claims.headline([each.judged for each in self.readings])
        return next(each for each in self.readings if each.judged is judged)

    @property
    def verdict(self) -> str:
        """The headline's verdict."""
        return self.headline.judged.verdict if self.headline else UNMEASURED

    @property
    def chapter(self) -> str | None:
        """The chapter of the headline."""
        return self.headline.chapter if self.headline else None

    @property
    def fresh(self) -> bool | None:
        """Whether the headline's seeds were ones that nobody had looked at; None where it has none."""
        return self.headline.fresh if self.headline else None

    @property
    def here(self) -> str:
        """What the headline measured, in words."""
        return cards.here(self.claim, self.headline.measured, self.headline.judged) if self.headline else ""


def rows(profile: str = "quick", of: chapters.Book | None = None) -> list[Row]:
    """One row per claim of the ledger, in its order.

    A claim that no current record of the profile carries is "not measured yet"; a stale record counts as none.  Second
    looks stand beside the paper's records only.
    """
    of = of or chapters.book()
    measured = _readings(profile, of)
    seconds = second_looks(of) if profile == "paper" else {}
    return [
        Row(claim, tuple(measured.get(claim.id, ())), tuple(seconds.get(claim.id, ())))
        for claim in claims.load().values()
    ]


def _readings(profile: str, of: chapters.Book) -> dict[str, list[Reading]]:
    found: dict[str, list[Reading]] = {}
    for chapter in chapters.runnable(of).values():
        if not records.status(chapter, profile).usable:
            continue
        record = records.read(records.path(chapter, profile))
        seed = records.provenance(record)["parameters"].get("first_seed")
        for each in records.claims(record):
            reading = _reading(each, chapter.name, seed)
            if reading is not None:
                found.setdefault(each.id, []).append(reading)
    for readings in found.values():
        readings.sort(key=lambda each: each.name != AS_PRINTED)
    return found


def _reading(measured: claims.Measured, chapter: str, seed: int | None) -> Reading | None:
    """The reading that these numbers are of; None where the ledger has no such claim."""
    claim = claims.load().get(measured.id)
    if claim is None:
        return None
    fresh = None if seed is None or claim.theorem else seed >= FRESH
    return Reading(measured.reading_of(claim), measured, claims.judge(claim, measured), chapter, fresh)


def second_looks(of: chapters.Book) -> dict[str, list[Second]]:
    """The second looks at each claim of the ledger.

    Raises BookError, which names the file, for a damaged one.
    """
    found: dict[str, list[Second]] = {}
    for id, several in second.load(of).items():
        for each in several:
            reading = _reading(each.measured, each.chapter, each.first_seed)
            if reading is not None:
                about = each.date, each.machine, each.device, each.first_seed, each.commit
                found.setdefault(id, []).append(Second(reading, *about))
    return found


def summary(table: Sequence[Row]) -> dict[str, Counter[str]]:
    """How many claims of each paper have which verdict."""
    papers = dict.fromkeys(row.paper for row in table)
    return {paper: Counter(row.verdict for row in table if row.paper == paper) for paper in papers}
