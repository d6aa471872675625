"""The project's small tables: in a checkout, in a wheel, and where neither has them."""

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
