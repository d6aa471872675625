"""Running chapters: what a record carries, what a failure leaves. A kernel costs a second: few runs, many looks."""

import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import nbformat
import pytest
from toy_chapters import page, write

from spectral_lens.book import customs, execution, origin, records, runner
from spectral_lens.book.chapters import BookError, chapter

LOOK = """\
import os, sys
names = ["ONLY_IN_THE_KERNEL", "OMP_NUM_THREADS", "SPECTRAL_LENS_PROFILE", "PYTHONHASHSEED", "MPLBACKEND"]
print(os.getcwd(), sys.executable, *(os.environ[n] for n in names), sep="\\n")
print("bar", end="\\r", file=sys.stderr)
print(a, words)"""


CLAIM = "from spectral_lens import claims\nclaims.measure('chicchi.method.inverse', [1e-16, 3e-16])"


DATA = """\
class Data:
    def _repr_mimebundle_(self, **kwargs):
        return {"text/plain": "toy data"}, {"spectral_lens": {"data": {"name": "toy", "edition": "e", "sha256": "0"}}}
Data()"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A book with one chapter that was run in both ways: as the profile says, and with a parameter given by hand."""
    root = tmp_path_factory.mktemp("book")
    toy = write(root, {"part/one": page("One", LOOK, CLAIM, DATA)})
    one = chapter("part/one", toy)
    before = dict(os.environ), os.getcwd()
    paths = [runner.run(runner.plan(one)), runner.run(runner.plan(one, "quick", {"words": ["y", "z"]}))]
    assert (dict(os.environ), os.getcwd()) == before
    return SimpleNamespace(root=root, chapter=one, paths=paths, records=[records.read(p) for p in paths])


def stdout(record):
    outputs = [o for c in record.cells for o in c.get("outputs", [])]
    return [o.text for o in outputs if o.output_type == "stream"]


def test_kernel_is_this_interpreter_with_the_profiles_environment(done):
    (text,) = stdout(done.records[0])
    folder, interpreter, *environment, last = text.splitlines()
    assert os.path.samefile(folder, done.root / "book" / "part")
    assert interpreter == sys.executable
    assert environment == ["1", "1", "quick", "0", "module://matplotlib_inline.backend_inline"]
    assert last == "2 ['x']"


def test_provenance(done):
    made = records.provenance(done.records[0])
    assert (made["chapter"], made["profile"], made["threads"]) == ("part/one", "quick", 1)
    assert made["parameters"] == {"a": 2, "b": 0.5, "words": ["x"], "flag": False, "free": None}
    assert made["code"] == records.code_hash(done.records[0]) == records.code_hash(done.chapter.notebook)
    assert set(made["ran"]) == {"_runtime.resources", "intervals"}, (
        "what judges and draws claims does so again when the site is built"
    )
    assert made["replay"] is None
    assert set(made["versions"]) == {"python", "torch", "numpy"}
    assert made["date"].endswith("+00:00")
    assert 0 < made["duration"] < 60
    assert made["device"].startswith("CPU (")
    assert (made["commit"], made["dirty"]) == (None, None)
    assert [c.id for c in records.claims(done.records[0])] == ["chicchi.method.inverse"]
    assert records.data(done.records[0]) == [{"name": "toy", "edition": "e", "sha256": "0"}]
    assert records.status(done.chapter, "quick") == records.Status("current")


def test_record_has_no_times_and_no_progress(done):
    for record in done.records:
        text = nbformat.writes(record)
        assert "papermill" not in text
        assert '"stderr"' not in text
        assert "start_time" not in text
        assert not {"warnings", "files"} & set(records.provenance(record))
    assert [c["id"] for c in done.records[0].cells] == [c["id"] for c in done.chapter.notebook.cells]


def test_parameters_by_hand_make_a_record_of_their_own(done):
    assert done.paths[0] == done.root / "build/records/quick/part/one.ipynb"
    assert done.paths[1].parent == done.root / "build/records/custom/part"
    assert done.paths[1].name.startswith("one--")
    record = done.records[1]
    assert records.provenance(record)["profile"] == "custom"
    assert "custom" in stdout(record)[0]
    assert stdout(record)[0].endswith("2 ['y', 'z']\n")
    (cell,) = [c for c in record.cells if records.injected(c)]
    assert (cell["id"], "words" in cell.source, "flag" in cell.source) == ("injected", True, False)
    assert records.code_hash(record) == records.code_hash(done.chapter.notebook)


def test_failure_leaves_the_earlier_record(tmp_path):
    toy = write(tmp_path, {"p": page("P", "x = 1", "print(x)")})
    path = runner.run(runner.plan(chapter("p", toy)))
    before = path.read_bytes()
    (tmp_path / "book/p.md").write_text(page("P", "x = 1", "def f(x):\n    return x / 0\nf(x)"))
    with pytest.raises(runner.ChapterFailed) as failure:
        runner.run(runner.plan(chapter("p", toy)))
    message = str(failure.value)
    for part in (
        "p (quick): code cell 3 failed",
        "return x / 0",
        "ZeroDivisionError: division by zero",
        "build/failed/quick/p",
    ):
        assert part in message
    assert "\x1b" not in message
    assert path.read_bytes() == before
    kept = nbformat.read(tmp_path / "build/failed/quick/p.ipynb", as_version=4)
    assert any(o.output_type == "error" for c in kept.cells for o in c.get("outputs", []))
    assert "ZeroDivisionError" in (tmp_path / "build/failed/quick/p.log").read_text()
    (tmp_path / "book/p.md").write_text(page("P", "x = 2"))
    runner.run(runner.plan(chapter("p", toy)))
    assert not list((tmp_path / "build/failed/quick").iterdir())


def test_a_place_that_takes_no_record_is_found_before_the_kernel_starts(tmp_path, monkeypatch):
    toy = write(tmp_path, {"p": page("P", "1")})
    ready = runner.plan(chapter("p", toy))
    assert not (tmp_path / "build").exists()
    monkeypatch.setattr(execution, "execute", None)
    (tmp_path / "build").mkdir()
    (tmp_path / "build/records").write_text("in the way")
    for start in (lambda: runner.run(ready), lambda: runner.plan(chapter("p", toy))):
        with pytest.raises(BookError, match="build/records is not a folder"):
            start()


@pytest.mark.parametrize("also_failed", [False, True])
def test_a_record_that_cannot_be_written_is_kept_elsewhere(tmp_path, monkeypatch, also_failed):
    """The chapter itself puts a file in the way of its record (and of the folder for failures)."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    folder, taken = tmp_path / "book with spaces", ["records", "failed"][: 1 + also_failed]
    cell = f"import os\nos.mkdir('../build')\nfor name in {taken}: open('../build/' + name, 'w').close()\nprint('work')"
    toy = write(folder, {"p": page("P", cell)})
    ready = runner.plan(chapter("p", toy))
    with pytest.raises(runner.ChapterFailed, match=r"p \(quick\) ran, but its record could not be written") as failure:
        runner.run(ready)
    (kept,) = tmp_path.rglob("*.ipynb")
    assert kept.is_relative_to(tmp_path / "temporary" if also_failed else folder / "build/failed")
    assert str(kept if also_failed else kept.relative_to(folder)) in str(failure.value)
    (folder / "build/records").unlink()
    subprocess.run(str(failure.value).splitlines()[-1], shell=True, check=True)
    assert records.status(chapter("p", toy), "quick") == records.Status("current")


def test_progress_bars_and_split_streams_are_cleaned():
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    widget = nbformat.v4.new_output(
        "display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%"}
    )
    result = nbformat.v4.new_output("display_data", {"text/plain": "1"})
    outputs = [
        stream("stdout", "a"),
        stream("stderr", "0%"),
        stream("stdout", "b"),
        widget,
        result,
        stream("stdout", "c"),
    ]
    cell = nbformat.v4.new_code_cell("1", id="random", metadata={"papermill": {}, "tags": []}, outputs=outputs)
    executed = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"x": 1}, "widgets": {}})
    source = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", id="c000", metadata={"tags": ["t"]})])
    record = runner.clean(executed, source)
    assert [o.get("text", "1") for o in record.cells[0].outputs] == ["ab", "1", "c"]
    assert (record.cells[0]["id"], record.cells[0].metadata, record.metadata) == ("c000", {"tags": ["t"]}, {})


@pytest.mark.parametrize(
    ("machine", "flags", "left"),
    [
        ("aarch64", "", set()),
        ("x86_64", "flags : sse avx", set()),
        ("x86_64", "flags : avx avx2 fma", set(runner._AVX2)),
    ],
)
def test_a_processor_is_asked_only_for_what_it_has(monkeypatch, tmp_path, machine, flags, left):
    """Arm knows no AVX2, and torch warns of it in every chapter's first cell."""
    (tmp_path / "cpuinfo").write_text(flags + "\n")
    monkeypatch.setattr(origin.platform, "machine", lambda: machine)
    monkeypatch.setattr(origin, "Path", lambda _: tmp_path / "cpuinfo")
    origin.has_avx2.cache_clear()
    found = runner.environment(runner.plan(chapter("intro")))
    monkeypatch.undo()
    origin.has_avx2.cache_clear()
    assert set(found) & set(runner._AVX2) == left
    assert found["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("named", "seen"), [("my/data", "{here}/my/data"), ("~/data", "/home/me/data"), ("", None), (None, None)]
)
def test_a_relative_data_folder_means_the_same_to_command_and_chapter(monkeypatch, tmp_path, named, seen):
    plan = runner.plan(chapter("one", write(tmp_path, {"one": page("One", "1")})))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("SPECTRAL_LENS_DATA", raising=False)
    if named is not None:
        monkeypatch.setenv("SPECTRAL_LENS_DATA", named)
    found = runner.environment(plan)
    assert found.get("SPECTRAL_LENS_DATA") == (seen and seen.format(here=tmp_path))
    assert found["SPECTRAL_LENS_CALLED_FROM"] == str(tmp_path)  # for files that a parameter names


def test_the_home_folder_of_nobody_is_found_before_the_kernel_starts(monkeypatch, tmp_path):
    one = chapter("one", write(tmp_path, {"one": page("One", "1")}))
    monkeypatch.setenv("SPECTRAL_LENS_DATA", "~nobody-of-that-name/data")
    with pytest.raises(BookError, match=r"^SPECTRAL_LENS_DATA=~nobody-of-that-name/data is in a home folder"):
        runner.plan(one)


def test_warnings_are_kept_in_their_cell_and_in_the_provenance(tmp_path):
    """Category and message in one line; neither the paths and lines of code beside them nor a progress bar."""
    cells = [
        "print('bar', end='\\r', file=sys.stderr)\nwarn('two\\nlines \\x1b[31m', RuntimeWarning)\nprint('said')",
        "for k in (1, 1, 2): warn(f'number {k}')\nwith warnings.catch_warnings(action='ignore'): warn('unheard')",
        "with warnings.catch_warnings(record=True) as caught: warn('caught')\nprint(len(caught))",
    ]
    start = "import sys, warnings\nfrom warnings import warn\nwarnings.simplefilter('always')"
    toy = write(tmp_path, {"p": page("P", start, *cells)})
    record = records.read(runner.run(runner.plan(chapter("p", toy))))
    told = ["RuntimeWarning: two lines [31m", "UserWarning: number 1", "UserWarning: number 2"]
    assert records.provenance(record)["warnings"] == told
    *_, first, second, third = (cell.outputs for cell in record.cells if cell.cell_type == "code")
    assert [(o.name, o.text) for o in first] == [("stdout", "said\n"), ("stderr", f"{told[0]}\n")]
    assert [(o.name, o.text) for o in second] == [("stderr", f"{told[1]}\n{told[2]}\n")]
    assert [(o.name, o.text) for o in third] == [("stdout", "1\n")]


def test_a_run_says_which_files_it_read(tmp_path):
    cell = 'table = ""  # file of numbers\nother = ""  # file of others'
    toy = write(tmp_path / "root", {"one": page("One", "1", parameters=cell)})
    (tmp_path / "here.csv").write_bytes(b"1,2")
    ready = runner.plan(chapter("one", toy), "quick", {"table": str(tmp_path / "here.csv")})
    made = records.provenance(records.read(runner.run(ready)))
    assert set(made["files"]) == {"table"}
    assert customs.same(ready) == records.Status("current")
    (tmp_path / "here.csv").write_bytes(b"1,3")
    assert customs.same(ready) is None
