"""The whole of a sweep's page: what is said of points that are not shown, and what cannot be shown."""

import html
import re
from dataclasses import replace

import pytest
import toy_sweeps as toy

from spectral_lens.book.chapters import BookError
from spectral_lens.book.sweeps import body, points
from spectral_lens.book.sweeps.section import Links, Wanted
from spectral_lens.claims import Measured

OF = toy.gathered(({"lr": 0.1, "source": "<a>"}, [toy.distance(0.97, 0.98)]), ({"lr": 0.2, "source": "b"}, []))


def words(text):
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def test_points_that_are_not_shown_are_named():
    there, _ = OF.points
    lost = replace(
        there, values={"lr": 0.3, "source": "b"}, state="failed", made={}, claims=(), log="l.log", said="x < y"
    )
    gone = replace(lost, values={"lr": 0.4, "source": "b"}, state="missing", log="", said="")
    old = replace(there, values={"lr": 0.5, "source": "b"}, state="older", reason="changed: nn.f")
    of = replace(OF, points=points.apart([there, lost, gone, old]))
    text = body.body(of, Links("../sweeps/toy.csv", log=lambda point: f"../{point.log}"))
    said = words(text)
    assert "1 of 4 points over lr , source , 1 failed, 1 missing, 1 left out (see below)" in said
    assert "Failed lr=0.3 source='b': x < y ( l.log )" in said
    assert '<a href="../l.log">' in text
    assert "lr=0.5 source='b': made with other code than the others (changed: nn.f)" in said
    assert "Not computed yet lr=0.4 source='b'" in said
    assert "lr=0.5" not in said.partition("Failed")[0], "what was made with other code is not among the numbers"
    assert '<a href="../sweeps/toy.csv" download>toy.csv</a>' in text
    assert "<a>" not in text


def test_older_numbers_say_so():
    older = replace(OF, points=tuple(replace(point, state="older", reason="changed: nn.f") for point in OF.points))
    assert "This sweep is older than the code (changed: nn.f). spectral-lens sweep toy computes" in words(
        body.body(older, Links(""))
    ).replace(" )", ")")
    assert "older than the code" not in body.body(OF, Links(""))


def test_where_it_comes_from():
    said = words(body.body(OF, Links("")))
    assert said.endswith(
        "How this sweep was computed Chapter toy/lens Profile quick Swept lr: 0.1, 0.2; source: <a>, b "
        "Dates 2026-05-04 Computing 3 min 00 s Devices CPU Versions python 3.11.9 Commits 0123456789ab"
    )


def test_some_readings_of_a_claim():
    other = Measured.of(toy.DISTANCE, [0.5, 0.6], "custom", reading="the authors' code")
    of = toy.gathered(({"lr": 0.1}, [toy.distance(0.97, 0.98), other]))
    both = ["as printed", "the authors' code"]
    for asked in (both, both[:1], both[1:]):
        text = body.body(of, Links(""), body.wanted(of, readings=";".join(asked)))
        assert ("the authors' code" in html.unescape(text)) == (both[1] in asked)
        assert (", 0.975 (95%" in text) == (both[0] in asked)


def test_what_all_points_have_in_common_is_said_once():
    of = toy.gathered(*(({"lr": lr, "samples": 50}, [toy.distance(0.97, 0.98)]) for lr in (0.1, 0.2)))
    said = words(body.body(of, Links("")))
    assert "2 of 2 points over lr . Points of a sweep" in said
    assert "Swept lr: 0.1, 0.2 With samples: 50 Dates" in said


def test_without_a_claim_there_is_no_figure():
    of = toy.gathered(({"lr": 0.1}, []))
    assert "No point of this sweep has measured a claim yet." in body.body(of, Links(""))


def test_what_is_asked_for_is_there_or_refused():
    assert body.wanted(OF) == Wanted()
    found = body.wanted(OF, f" {toy.DISTANCE} ,", " as printed;", "lr", "source")
    assert found == Wanted((toy.DISTANCE,), ("as printed",), "lr", "source")
    for options, said in (
        ({"claims": "chicchi.independent.distanc"}, r"no claim .*did you mean chicchi\.independent\.distance"),
        ({"readings": "as printed; other"}, "no reading 'other': there are as printed"),
        ({"x": "l"}, r"no parameter 'l'"),
        ({"colour": "rate"}, r"no parameter 'rate': there are lr, source"),
        ({"x": "lr", "colour": "lr"}, "either the axis or the colour"),
    ):
        with pytest.raises(BookError, match=said):
            body.wanted(OF, **options)
