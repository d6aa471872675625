"""A measured number against what the paper claims.

The ledger book/claims.yml holds every claim with its criterion; a chapter measures one by `measure(id, values)`, which
leaves the values as data in the output's metadata, where the records take them from. Verdict and card are made from
the data and the ledger whenever somebody looks: a changed word or criterion needs no run.
"""

from spectral_lens.claims.cards import card
from spectral_lens.claims.ledger import Claim, load
from spectral_lens.claims.measured import TINY, Measured
from spectral_lens.claims.measuring import measure
from spectral_lens.claims.verdicts import Judgement, Verdict, headline, headlines, judge, lies

__all__ = [
    "TINY",
    "Claim",
    "Judgement",
    "Measured",
    "Verdict",
    "card",
    "headline",
    "headlines",
    "judge",
    "lies",
    "load",
    "measure",
]
