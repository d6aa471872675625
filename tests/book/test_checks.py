"""What is found before a kernel starts."""

import pytest
from toy_chapters import page, write

from spectral_lens.book import checks, execution, runner
from spectral_lens.book.chapters import BookError, chapter


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x = ("], "code cell 2 does not parse"),
        (["claims.measure('chicchi.nothing', 1)"], "code cell 2 measures 'chicchi.nothing', which is not in"),
        (["claims.measure('chicchi.method.inverse', 1)"] * 2, "code cell 3 measures .* a second time"),
    ],
)
def test_bad_chapters_are_found_before_a_kernel_starts(tmp_path, monkeypatch, cells, message):
    monkeypatch.setattr(execution, "execute", None)
    toy = write(tmp_path, {"p": page("P", *cells)})
    with pytest.raises(BookError, match=message):
        runner.plan(chapter("p", toy))


def test_a_chapter_measures_or_it_does_not(tmp_path):
    cells = {"one": "claims.measure(name, 1)", "two": "print(measure)\nmeasure()", "three": "[measure('a.b', 1)]"}
    toy = write(tmp_path, {name: page(name, cell) for name, cell in cells.items()})
    assert [name for name in cells if checks.measures(chapter(name, toy))] == ["one", "three"]


def test_a_file_that_a_parameter_names_is_found_before_the_kernel_starts(monkeypatch, tmp_path):
    cell = 'table = ""  # file of numbers\nlevel = "file"  # not one'
    one = chapter("one", write(tmp_path / "root", {"one": page("One", "1", parameters=cell)}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").write_text("1,2")
    for given in ({}, {"table": "here.csv"}, {"table": str(tmp_path / "here.csv"), "level": "nowhere"}):
        assert runner.plan(one, "quick", given).parameters["level"] == given.get("level", "file")
    for named, why in (
        ("nowhere.csv", "No such file or directory"),
        (".", "Is a directory"),
        ("~nobody-of-that-name/a.csv", "home folder that there is not"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(BookError, match=rf"^one: table.*{why}") as caught:
            runner.plan(one, "quick", {"table": named})
        assert len(str(caught.value).splitlines()) == 1


def test_a_function_in_a_file_that_a_parameter_names_is_found_too(monkeypatch, tmp_path):
    one = chapter("one", write(tmp_path / "root", {"one": page("One", "1", parameters='net = ""  # function or name')}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text("def build(): ...")
    for given in ("", "my.py:build", f"{tmp_path}/my.py:build", "torchvision:resnet18", "my.py"):
        assert runner.plan(one, "quick", {"net": given}).parameters["net"] == given
    for given in ("nowhere.py:build", "a/my.py:build"):
        with pytest.raises(BookError, match=rf"^one: net={given} cannot be read \(No such file or directory\)\.$"):
            runner.plan(one, "quick", {"net": given})


def test_a_file_has_a_whole_path(monkeypatch, tmp_path):
    cell = 'table = ""  # file of numbers\nnet = ""  # function or name\nlevel = "a.csv"'
    one = chapter("one", write(tmp_path / "root", {"one": page("One", "1", parameters=cell)}))
    monkeypatch.chdir(tmp_path)
    given = {"table": "a.csv", "net": "my.py:build", "level": "a.csv"}
    assert checks.whole(one, given) == given | {"table": f"{tmp_path}/a.csv", "net": f"{tmp_path}/my.py:build"}
    for left in ({"table": ""}, {"net": "torchvision:resnet18"}, {"table": 5}, {"unknown": "x"}, {}):
        assert checks.whole(one, left) == left
    with pytest.raises(BookError, match="home folder that there is not"):
        checks.whole(one, {"table": "~nobody-of-that-name/a.csv"})


def test_what_a_parameter_names_counts_by_its_contents(monkeypatch, tmp_path):
    cell = 'table = ""  # file of numbers\nnet = ""  # function or name\nlevel = "here.csv"'
    one = chapter("one", write(tmp_path / "root", {"one": page("One", "1", parameters=cell)}))
    monkeypatch.chdir(tmp_path)
    for name in ("here.csv", "there.csv"):
        (tmp_path / name).write_text("1,2")
    for name in ("my.py", "helper.py", "parts/layers.py", "parts/deep/below.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("def build(): ...")

    def found(**given):
        return checks.contents(one, {"table": "", "net": "", "level": "here.csv"} | given)

    assert found() == found(net="torchvision:resnet18") == {}
    assert found(table="here.csv") == found(table="there.csv") != {}
    before = found(net="my.py:build")
    assert set(before) == {"net"}
    (tmp_path / "parts/deep/below.py").write_text("")
    (tmp_path / "here.csv").write_text("1,3")
    assert found(net="my.py:build") == before
    assert found(table="here.csv") != found(table="there.csv")
    seen = {before["net"]}
    for name in ("my.py", "helper.py", "parts/layers.py"):
        (tmp_path / name).write_text(f"# {name}")
        seen.add(found(net="my.py:build")["net"])
    assert len(seen) == 4
