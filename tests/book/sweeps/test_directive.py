"""The directive in a site: figures, numbers to take away, and warnings for what is not there."""

import csv
import os
import re
import shutil
from unittest.mock import Mock

import pytest
import toy_book
import toy_sweeps as toy
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from spectral_lens.book.sweeps import directive, kept

PAGE = """# A toy book

```{sweep} toy
```

```{sweep} toy
:claims: giambagli.inverse
```

```{sweep} toy
:x: rate
```

```{sweep} nowhere
```

```{sweep} damaged
```

```{sweep} empty
```
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    (root / "spectral_lens").mkdir()  # small: it is read whole
    of = toy.book(root, root / "spectral_lens")
    shutil.copy(toy_book.ROOT / "_config.yml", root)
    shutil.copytree(toy_book.ROOT / "book" / "_static", root / "book" / "_static")
    shutil.copy(toy_book.ROOT / "book" / "references.bib", root / "book")
    (root / "book" / "intro.md").write_text(PAGE, encoding="utf-8")
    made = toy.sweep(of, [{"lr": lr, "samples": n} for lr in (0.1, 0.2) for n in (10, 20)])
    for plan in made.plans[:3]:
        toy.measure(plan, toy.distance(0.97, 0.98))
    toy.fail(made.plans[3])
    file = kept.keep(made)
    file.with_name("damaged.json").write_text("{}", encoding="utf-8")
    toy.sweep(of, [{"lr": 0.5}], "empty")
    return of


@pytest.mark.site
def test_a_page_shows_what_is_kept_and_warns_of_the_rest(book):
    done = toy_book.build(book, "-n")
    assert done.returncode == 0, done.stderr
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stderr)
    for line, words in (
        (7, r"measured no claim 'giambagli\.inverse'"),
        (11, "no parameter 'rate': there are lr, samples"),
        (15, "There is no sweep 'nowhere'.*--keep` keeps it"),
        (18, r"damaged\.json is no kept sweep"),
        (21, r"has no point that the book could show \(missing\)"),
    ):
        assert re.search(rf"intro\.md:{line}: WARNING: .*{words}", said), (line, said)
    site = toy_book.site(book)
    text = (site / "book" / "intro.html").read_text(encoding="utf-8")
    assert text.count('<div class="lens-sweep"') == 1
    assert 'id="sweep-toy"' in text
    assert len(re.findall(r'<svg class="lens-plot" [^>]*role="img" aria-label="[^"]+"', text)) == 1
    assert text.count("is no kept sweep") == 1, "the reader is told, too"
    assert "ValueError: it does not converge" in text
    assert 'href="toy/lens.html#claim-chicchi-independent-distance"' in text
    assert str(book.root) not in re.sub(r"<main.*?</main>", "", text, flags=re.S)
    assert "sweep.css" in text
    (link,) = re.findall(r'href="([^"]+)" download', text)
    with (site / "book" / link).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["current"] * 6 + ["failed"]
    assert {path.name for path in (site / "sweeps").iterdir()} == {"toy.csv", "empty.csv"}


def outdated(book, about):
    env = BuildEnvironment.__new__(BuildEnvironment)
    env.project, env.metadata = Mock(docnames=set(about)), about
    return directive._outdated(Mock(spec=Sphinx, srcdir=str(book.root)), env, set(), set(), set())


def test_a_page_is_read_again_when_its_sweep_changes(tmp_path, package):
    of = toy.book(tmp_path, package)
    made = toy.sweep(of, [{"lr": 0.2}])
    toy.measure(made.plans[0], toy.distance(0.9))
    about = {"book/intro": {"sweeps": {"toy": directive._stamp(of, "toy")}}, "book/toy/lens": {}}
    assert outdated(of, about) == []
    toy.measure(made.plans[0], toy.distance(0.91))
    assert outdated(of, about) == ["book/intro"]
    about["book/intro"]["sweeps"]["toy"] = directive._stamp(of, "toy")
    file = kept.keep(made)
    assert outdated(of, about) == [], "the same, wherever it comes from"
    file.write_text("{}", encoding="utf-8")
    assert outdated(of, about) == ["book/intro"]


@pytest.mark.parametrize(("format", "error"), [("latex", None), ("html", RuntimeError())])
def test_otherwise_no_table_is_written(tmp_path, package, format, error):
    of = toy.book(tmp_path, package)
    toy.sweep(of, [{"lr": 0.2}])
    app = Mock(spec=Sphinx, srcdir=str(of.root), outdir=os.fspath(tmp_path / "out"))
    app.env, app.builder = Mock(metadata={"book/intro": {"sweeps": {"toy": ""}}}), Mock(format=format)
    directive._write_data(app, error)
    assert not (tmp_path / "out").exists()
