"""What a page shows of a measured claim: a small table with number, interval, criterion and verdict."""

import html
import math
from collections.abc import Sequence

from spectral_lens.claims.ledger import AS_PRINTED, Claim
from spectral_lens.claims.measured import TINY, Measured
from spectral_lens.claims.statistics import Accept, UnitMean
from spectral_lens.claims.verdicts import Judgement, judge

__all__ = ["accepted", "card", "here", "number", "with_interval"]


def number(value: float, scale: float) -> str:
    """A number to two significant digits of `scale`, its uncertainty; to three of its own where that says nothing.

    >>> number(0.98123, 0.0057), number(1234.5, 21.0), number(0.98123, float("inf"))
    ('0.9812', '1234', '0.981')
    """
    if not math.isfinite(scale) or scale <= 0:
        return f"{value:.3g}"
    digits = max(0, 1 - math.floor(math.log10(scale)))
    return f"{value:.{digits}f}" if digits < 7 else f"{value:.3g}"


def with_interval(found: UnitMean, unit: str) -> str:
    """The mean with its 95% interval and the number of units, in enough digits to judge by.

    >>> with_interval(UnitMean(0.98123, 0.9755, 0.9869, 0.008, 10), "run")
    '0.9812 (95% interval 0.9755 to 0.9869, 10 runs)'
    >>> with_interval(UnitMean(0.98123, float("-inf"), float("inf"), float("nan"), 1), "run")
    '0.981 (one run, no interval)'
    """
    if found.n == 1:
        return f"{found.mean:.3g} (one {unit}, no interval)"
    half = (found.high - found.low) / 2
    mean, low, high = (number(each, half) for each in (found.mean, found.low, found.high))
    return f"{mean} (95% interval {low} to {high}, {found.n} {unit}s)"


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
        return _worst(claim, measured, judged)
    text = with_interval(judged.found, claim.unit)
    if judged.deciding:
        others = len(judged.estimates) - 1
        text = f"{judged.deciding}: {text}" + (f"; {others} more further from the ends of the range" if others else "")
    return text


def card(claim: Claim, measured: Measured) -> str:
    """The table (HTML) that a page shows.

    >>> from spectral_lens.claims.ledger import load
    >>> claim = load()["chicchi.method.inverse"]
    >>> card(claim, Measured.of(claim.id, [1e-16], "quick"))
    '<table class="claim claim-identity-holds"><caption>chicchi.method.inverse</caption>...</table>'
    """
    judged = judge(claim, measured)
    rows = [
        ("claim", claim.claim),
        ("paper", f"{claim.printed.text} ({claim.where})"),
        ("measure", f"{claim.measure}, for each {claim.unit}" if not claim.theorem else claim.measure),
        ("accepted", f"{accepted(claim.accept)}: {claim.because}" if claim.accept else claim.because),
        ("here", here(claim, measured, judged)),
    ]
    reading = measured.reading or claim.reading
    if reading != AS_PRINTED:
        rows.insert(3, ("reading", reading))
    if judged.predicted:
        rows.append(("replication", _replication(judged)))
    if claim.history:
        rows.append(("history", _history(claim)))
    rows.append(("verdict", judged.verdict + (f": {judged.why}" if judged.why else "")))
    body = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
    kind = f"claim claim-{judged.verdict.replace(' ', '-')}"
    return f'<table class="{kind}"><caption>{html.escape(claim.id)}</caption><tbody>{body}</tbody></table>'


def _worst(claim: Claim, measured: Measured, judged: Judgement) -> str:
    values: Sequence[float] = measured.values or [judged.found.mean]
    low, high = claim.accept or (None, None)
    count = f" ({len(values)} values)" if len(values) > 1 else ""
    if low is None and high is not None and high <= TINY and max(values) <= high:
        return f"below {high:.0e}{count}"
    worst = max(values) if low is None else min(values, key=lambda value: _room(value, low, high))
    return f"{worst:.7g}{count}"


def _room(value: float, low: float, high: float | None) -> float:
    return min(value - low, math.inf if high is None else high - value)


def _replication(judged: Judgement) -> str:
    assert judged.predicted is not None
    low, high = judged.predicted
    inside = "so it does" if low <= judged.found.mean <= high else "it does not"
    ends = " to ".join(number(end, (high - low) / 2) for end in (low, high))
    return f"by the paper's mean and spread the mean here lies in {ends} with 95%: {inside}"


def _history(claim: Claim) -> str:
    return "; ".join(f"{each.date}: {each.change}" for each in claim.history)
