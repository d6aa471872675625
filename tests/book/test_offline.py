"""The site's own copy of MathJax."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from spectral_lens.book import offline


def built(folder, format="html"):
    app = Mock(spec=Sphinx, builder=SimpleNamespace(format=format), outdir=str(folder))
    offline.copy_mathjax(app)
    return folder / "_static" / "mathjax"


def test_what_the_pages_use_is_copied_once(tmp_path):
    mathjax = built(tmp_path)
    assert (mathjax / "tex-mml-chtml.js").is_file()
    assert len(list((mathjax / offline.FONTS).glob("*.woff"))) > 10
    copied = {path.stem for path in (mathjax / "input/tex/extensions").iterdir()}
    assert copied == set(offline.EXTENSIONS)
    (mathjax / "tex-mml-chtml.js").write_text("mine")
    built(tmp_path)
    assert (mathjax / "tex-mml-chtml.js").read_text() == "mine"


def test_other_formats_take_none(tmp_path):
    assert not built(tmp_path, "latex").exists()


def test_a_missing_package_says_what_to_install():
    with pytest.raises(ExtensionError, match=r"needs the Python package nowhere: install spectral-lens\[book\]"):
        offline._package("nowhere")


def test_live_cells_are_switched_off():
    def listener(module, id):
        def handler():
            pass

        handler.__module__ = module
        return SimpleNamespace(handler=handler, id=id)

    events = {"env-before-read-docs": [listener("sphinx_thebe", 3), listener("other", 4)],
              "doctree-resolved": [listener("sphinx_thebe", 5)]}  # fmt: skip
    gone = []
    offline.drop_thebe(Mock(spec=Sphinx, events=SimpleNamespace(listeners=events), disconnect=gone.append))
    assert gone == [3, 5]
