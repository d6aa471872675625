"""The project's small tables: in a checkout, in a wheel, and where neither has them."""

from pathlib import Path

import pytest

from spectral_lens._runtime import resources


def test_a_checkout_is_known_by_its_contents():
    root = resources.root()
    assert root is not None
    assert resources.resource("book/claims.yml") == root / "book" / "claims.yml"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as a wheel puts it, with one table beside its modules."""
    package = tmp_path / "site-packages" / "spectral_lens"
    package.mkdir(parents=True)
    (package / "claims.yml").write_text("[]")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    return package


def test_an_installed_package_carries_its_own(installed):
    assert resources.root() is None
    assert resources.resource("book/claims.yml") == installed / "claims.yml"


def test_what_is_nowhere_is_named(installed):
    with pytest.raises(FileNotFoundError, match=r"data/bands\.csv is neither .* install spectral-lens again"):
        resources.resource("data/bands.csv")


def test_a_file_that_a_user_names_is_named_from_where_the_command_was_called(monkeypatch, tmp_path):
    monkeypatch.delenv(resources.CALLED_FROM, raising=False)
    monkeypatch.chdir(tmp_path)
    assert resources.named("a/b.csv") == tmp_path / "a" / "b.csv"
    monkeypatch.setenv(resources.CALLED_FROM, str(tmp_path / "elsewhere"))
    assert resources.named("a/b.csv") == tmp_path / "elsewhere" / "a" / "b.csv"
    assert resources.named(tmp_path / "b.csv") == tmp_path / "b.csv"
    assert resources.named("~/b.csv") == Path.home() / "b.csv"
    with pytest.raises(ValueError, match="name the whole path"):
        resources.named("~nobody-of-that-name/b.csv")
