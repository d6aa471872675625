"""Buttons and the citation link: only where the repository is known, each to what its service opens."""

from unittest.mock import Mock

import pytest
from sphinx.application import Sphinx
from sphinx.config import Config

from spectral_lens.book import links


def configured(url, **options):
    theme = {"repository_url": url, "launch_buttons": {"binderhub_url": "b", "colab_url": "c"}} | options
    config = Mock(spec=Config, html_theme_options=theme)
    links.configure(Mock(spec=Sphinx), config)
    return config.html_theme_options


@pytest.mark.parametrize("url", ["", None, "  "])
def test_without_a_repository_there_are_no_buttons(url):
    options = configured(url)
    assert not any(options[name] for name in links.BUTTONS)
    assert options["launch_buttons"] == {}
    assert "extra_footer" not in options


def test_with_one_there_are_all_and_the_citation():
    options = configured("https://github.com/someone/lens/", repository_branch="dev")
    assert all(options[name] for name in links.BUTTONS)
    assert options["launch_buttons"] == {"binderhub_url": "b", "colab_url": "c"}
    assert 'href="https://github.com/someone/lens/blob/dev/CITATION.cff"' in options["extra_footer"]


def test_colab_opens_from_github_only():
    assert configured("https://example.org/lens")["launch_buttons"] == {"binderhub_url": "b", "colab_url": ""}


@pytest.mark.parametrize("recorded", [True, False])
def test_binder_opens_the_text_and_colab_the_record(tmp_path, recorded):
    if recorded:
        (tmp_path / "data/runs/paper/part").mkdir(parents=True)
        (tmp_path / "data/runs/paper/part/one.ipynb").touch()
    buttons = [
        {"text": "Binder", "url": "https://binder/v2/gh/a/b/main?urlpath=lab/tree/book/part/one.md"},
        {"text": "Colab", "url": "https://colab/github/a/b/blob/main/book/part/one.md"},
    ]
    group = {"label": "launch-buttons", "buttons": buttons}
    context = {"header_buttons": [{"label": "other", "buttons": [{"text": "Binder", "url": "x"}]}, group]}
    links.launch(Mock(spec=Sphinx, srcdir=str(tmp_path)), "book/part/one", "", context, None)
    urls = [button["url"] for button in group["buttons"]]
    assert urls[0] == (
        "https://binder/v2/gh/a/b/main?urlpath=notebooks%2Fbook%2Fpart%2Fone.md%3Ffactory%3DJupytext%20Notebook"
    )
    assert urls[1:] == ["https://colab/github/a/b/blob/main/data/runs/paper/part/one.ipynb"] * recorded
    assert context["header_buttons"][0]["buttons"] == [{"text": "Binder", "url": "x"}]
