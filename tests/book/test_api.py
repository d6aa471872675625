"""The page of functions and classes: all that is offered, each once, with the signature of its source."""

import re
import types
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest
from sphinx.application import Sphinx

import spectral_lens
from spectral_lens import training
from spectral_lens.book import api
from spectral_lens.datasets import DataSet
from spectral_lens.nn import layers
from spectral_lens.training import fit

PACKAGE = Path(spectral_lens.__file__).parent


@pytest.fixture(scope="module")
def page():
    return f"{api.tasks()}\n\n{api.rooms()}"


def asked(page):
    return re.findall(r"^\.\. auto(?:class|function):: (\S+)$", page, re.MULTILINE)


def test_each_thing_stands_there_once(page):
    found = asked(page)
    assert len(found) == len(set(found)) > 150
    assert {"spectral_lens.training.fit", "spectral_lens.nn.layers.SpectralLinear"} <= set(found)
    assert not [place for place in found if "._" in place or place.startswith("spectral_lens.book")]


def test_every_module_is_there(page):
    found = re.findall(r"^\.\. automodule:: spectral_lens\.(\S+)$", page, re.MULTILINE)
    public = [path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")]
    public = {".".join(parts).removesuffix(".__init__") for parts in public if parts[0] not in ("book", "__init__")}
    assert sorted(found) == sorted(name for name in public if not re.search(r"(^|\.)_", name))


def test_tasks_are_those_of_the_front_door_and_lead_to_what_is_described(page):
    links = dict(re.findall(r"^\* \{py:obj\}`(\w+) <(\S+)>`: \S", page, re.MULTILINE))
    assert list(links) == spectral_lens.__all__
    assert set(links.values()) <= set(asked(page))


def test_what_a_room_offers_from_its_private_modules_is_its_own():
    assert fit in api.offered(training)
    assert DataSet not in api.offered(training)
    assert api.offered(layers)[:3] == [layers.Initial, layers.Eigen, layers.eigen]


def test_signatures_are_the_sources_own():
    arguments, returned = api.signature(layers.eigen)
    assert arguments == (
        "(lam_in: Float[Tensor, 'in'], lam_out: Float[Tensor, 'out'], psi: Float[Tensor, '*offsets out in'])"
    )
    assert returned == "Eigen"
    assert api.signature(layers.SpectralLinear)[0].startswith("(in_features: int, out_features: int, *, bias: bool=")
    assert api.signature(layers.SpectralLinear.eigen_decomposition) == ("()", "Eigen")
    assert api.signature(layers.Eigen) is None
    assert api.signature(len) is None


def test_directives_are_replaced_on_their_page_only():
    app = Mock(spec=Sphinx, srcdir=str(PACKAGE.parents[1]))
    for name, told in {
        "tasks": "**Build",
        "rooms": "## nn",
        "layers": "| taken |",
        "networks": "| explained |",
    }.items():
        source = [f"# API\n\n```{{api-{name}}}\n```\n\nThe end.\n"]
        api.write(app, "book/page", source)
        assert source[0].startswith(f"# API\n\n{told}")
        assert source[0].endswith("\n\nThe end.\n")
        assert "```{api" not in source[0]
    source = ["# Other\n\n```python\n```\n"]
    api.write(app, "book/page", source)
    assert source == ["# Other\n\n```python\n```\n"]


def test_words_are_made_readable_with_the_books_sources(tmp_path):
    (tmp_path / "references.bib").write_text("@article{chicchi,\n  title = {A},\n}\n")
    app = Mock(spec=Sphinx, srcdir=str(tmp_path), config=types.SimpleNamespace(bibtex_bibfiles=["references.bib"]))
    lines = ["As in [chicchi, 5] and [yamada2020]."]
    api.describe(app, "function", "f", None, None, lines)
    assert ":cite:alp:`chicchi`" in lines[0]
    assert "yamada2020`" not in lines[0]


def test_fields_of_named_tuples_are_left_out():
    class Pair(NamedTuple):
        """Two."""

        first: int

    app = Mock(spec=Sphinx)
    assert api.skip(app, "class", "first", vars(Pair)["first"], False, None) is True
    assert api.skip(app, "class", "f", test_fields_of_named_tuples_are_left_out, False, None) is None
