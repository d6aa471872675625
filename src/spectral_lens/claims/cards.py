"""What a page shows of a measured claim: a small table with number, interval, criterion and verdict."""

import html
import math
from collections.abc import Sequence

from spectral_lens.claims.ledger import AS_PRINTED, Claim
from spectral_lens.claims.measured import TINY, Measured
from spectral_lens.claims.statistics import Accept, UnitMean
from spectral_lens.claims.verdicts import Judgement, judge

__all__ = ["accepted", "card", "here", "number", "printed", "replication", "with_interval", "worst"]

_MORE = 8  # digits at most that a number gets to tell on which side of an end it lies


def number(value: float, scale: float, more: int = 0) -> str:
    """A number to two significant digits of `scale`, its uncertainty; to three of its own where that says nothing.

    more: digits beyond these.

    >>> number(0.98123, 0.0057), number(1234.5, 21.0), number(0.98123, float("inf")), number(0.98123, 0.0057, 1)
    ('0.9812', '1234', '0.981', '0.98123')
    """
    if not math.isfinite(scale) or scale <= 0:
        return f"{value:.{3 + more}g}"
    digits = max(0, 1 - math.floor(math.log10(scale))) + more
    return f"{value:.{digits}f}" if digits < 7 else f"{value:.{3 + more}g}"


def with_interval(found: UnitMean, unit: str, accept: Accept | None = None) -> str:
    """The mean with its 95% interval and the number of units, in enough digits to judge by.

    Enough are two of the interval's half width, and as many as keep each number on its side of the ends of `accept`.

    >>> with_interval(UnitMean(0.98123, 0.9755, 0.9869, 0.008, 10), "run")
    '0.9812 (95% interval 0.9755 to 0.9869, 10 runs)'
    >>> with_interval(UnitMean(0.975, 0.96496, 0.98504, 0.014, 10), "run", (0.965, None))
    '0.97500 (95% interval 0.96496 to 0.98504, 10 runs)'
    >>> with_interval(UnitMean(0.98123, float("-inf"), float("inf"), float("nan"), 1), "run")
    '0.981 (one run, no interval)'
    """
    numbers = (found.mean,) if found.n == 1 else (found.mean, found.low, found.high)
    scale = math.inf if found.n == 1 else (found.high - found.low) / 2
    for more in range(_MORE + 1):
        texts = [number(each, scale, more) for each in numbers]
        if _told(numbers, texts, accept):
            break
    if found.n == 1:
        return f"{texts[0]} (one {unit}, no interval)"
    return f"{texts[0]} (95% interval {texts[1]} to {texts[2]}, {found.n} {unit}s)"


def _told(numbers: Sequence[float], texts: Sequence[str], accept: Accept | None) -> bool:
    """Whether each text lies on its number's side of each end of the range."""
    ends = [end for end in accept or () if end is not None]
    pairs = zip(numbers, texts, strict=True)
    return all(
        (value < end, value > end) == (float(text) < end, float(text) > end) for value, text in pairs for end in ends
    )


def accepted(accept: Accept | None) -> str:
    """The range that counts as a reproduction, in words.

    >>> accepted((None, 0.2)), accepted((0.78, 0.88)), accepted(None)
    ('at most 0.2', '0.78 to 0.88', 'nothing is judged')
    """
    low, high = accept or (None, None)
    if low is None and high is None:
        return "nothing is judged"
    if low is None:
        return f"at most {high:.7g}"
    return f"at least {low:.7g}" if high is None else f"{low:.7g} to {high:.7g}"


def here(claim: Claim, measured: Measured, judged: Judgement) -> str:
    """What was measured, in words: of a theorem the worst value, of groups the one that the verdict hangs on.

    >>> from spectral_lens.claims.ledger import load
    >>> claim = load()["chicchi.method.inverse"]
    >>> measured = Measured.of(claim.id, [1e-16, 3e-16], "quick")
    >>> here(claim, measured, judge(claim, measured))
    'below 1e-12 (2 values)'
    """
    if claim.theorem:
        return _as_theorem(claim, measured)
    text = with_interval(judged.found, claim.unit, claim.accept)
    if judged.deciding:
        others = len(judged.estimates) - 1
        text = f"{judged.deciding}: {text}" + (f"; {others} more further from the ends of the range" if others else "")
    return text


def printed(claim: Claim) -> str:
    """What the paper prints, in words.

    >>> from spectral_lens.claims.ledger import load
    >>> printed(load()["giambagli.perceptron.eigenvalues"])
    '0.82 \u00b1 0.02'
    """
    return claim.printed.text.replace("+-", "\u00b1")


def replication(judged: Judgement) -> str:
    """Whether the mean lies where a replication of the paper's own mean and spread would; empty where that is open.

    >>> from spectral_lens.claims.statistics import estimate
    >>> replication(Judgement("reproduced", {"": estimate([0.8, 0.82])}, "", predicted=(0.75, 0.85)))
    "by the paper's mean and spread the mean here lies in 0.750 to 0.850 with 95%: so it does"
    """
    if judged.predicted is None:
        return ""
    low, high = judged.predicted
    inside = "so it does" if low <= judged.found.mean <= high else "it does not"
    ends = " to ".join(number(end, (high - low) / 2) for end in (low, high))
    return f"by the paper's mean and spread the mean here lies in {ends} with 95%: {inside}"


def worst(claim: Claim, measured: Measured) -> float:
    """Of a theorem's values the one nearest to the end of what is accepted, or furthest beyond it.

    >>> from spectral_lens.claims.ledger import load
    >>> worst(load()["chicchi.method.inverse"], Measured.of("chicchi.method.inverse", [1e-16, 3e-16], "quick"))
    3e-16
    """
    values, (low, high) = measured.numbers, claim.accept or (None, None)
    return max(values) if low is None else min(values, key=lambda value: _room(value, low, high))


def card(claim: Claim, measured: Measured) -> str:
    """The table (HTML) that a page shows.

    >>> from spectral_lens.claims.ledger import load
    >>> claim = load()["chicchi.method.inverse"]
    >>> card(claim, Measured.of(claim.id, [1e-16], "quick"))
    '<table class="claim claim-identity-holds"><caption>chicchi.method.inverse</caption>...</table>'
    """
    judged = judge(claim, measured)
    reading = measured.reading_of(claim)
    rows = [
        ("claim", claim.claim),
        ("paper", f"{printed(claim)} ({claim.where})"),
        ("reading", reading if reading != AS_PRINTED else ""),
        ("measure", f"{claim.measure}, for each {claim.unit}" if not claim.theorem else claim.measure),
        ("accepted", f"{accepted(claim.accept)}: {claim.because}" if claim.accept else claim.because),
        ("here", here(claim, measured, judged)),
        ("replication", replication(judged)),
        ("history", "; ".join(f"{each.date}: {each.change}" for each in claim.history)),
        ("verdict", judged.verdict + (f": {judged.why}" if judged.why else "")),
    ]
    body = "".join(f'<tr><th scope="row">{name}</th><td>{html.escape(text)}</td></tr>' for name, text in rows if text)
    kind = f"claim claim-{judged.verdict.replace(' ', '-')}"
    return f'<table class="{kind}"><caption>{html.escape(claim.id)}</caption><tbody>{body}</tbody></table>'


def _as_theorem(claim: Claim, measured: Measured) -> str:
    values, (low, high) = measured.numbers, claim.accept or (None, None)
    count = f" ({len(values)} values)" if len(values) > 1 else ""
    if low is None and high is not None and high <= TINY and max(values) <= high:
        return f"below {high:.0e}{count}"
    return f"{worst(claim, measured):.7g}{count}"


def _room(value: float, low: float, high: float | None) -> float:
    return min(value - low, math.inf if high is None else high - value)
