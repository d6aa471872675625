"""Which functions ran: threads, generators and methods are seen, what was only imported is not."""

import importlib
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from spectral_lens.book.recorder import Recorder, _Finder, _Loader

CODE = '''\
"""Doc."""
from {name}.inside import deep

import torch


def noted(function):
    return function


def called():
    """Doc."""
    return sorted([2, 1], key=lambda v: inner(v))


def inner(v):
    def local():
        return v

    return local()


def never():
    return 1


@noted
def generator():
    yield deep.Deep().value


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return slope(ctx.saved_tensors[0]) * grad


def slope(x):
    return 2 * x


def threaded():
    return 5


def words():
    """Doc."""


def fails():
    sorted(None)


def text():
    "Doc."
    sorted(None)


async def later():
    sorted(None)


@noted
class Decorated:
    size = 1

    async def run(self, most=lambda: 1):
        return most()

    def rest(self):
        pass


def after():
    return Decorated
'''
DEEP = """\
class Deep:
    class Nested:
        def run(self):
            return 3

    @property
    def value(self):
        return self.Nested().run()

    def unused(self):
        return 1
"""


DOOR = "def __getattr__(name):\n    raise AttributeError(name)\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A package under a recorder, with a name of its own in every test."""
    name = f"recorded_{tmp_path.name}"
    folder = tmp_path / name
    files = {"__init__.py": DOOR, "base.py": CODE.format(name=name), "inside/__init__.py": "", "inside/deep.py": DEEP}
    files["skipped.py"] = files["skipped_not.py"] = "def f():\n    return 1\n"
    for file, text in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    recorder = Recorder(name, folder, skip=lambda module: module.split(".")[0] == "skipped")
    recorder.start()
    yield importlib.import_module(f"{name}.base"), recorder
    recorder.stop()
    for loaded in [m for m in sys.modules if m.split(".")[0] == name]:
        del sys.modules[loaded]


def functions(recorder, module):
    """The functions of the module that ran; a local one counts as the one around it."""
    return {name.partition(".<")[0] for name in recorder.ran().get(module, ())}


def test_only_what_ran(module):
    base, recorder = module
    assert functions(recorder, "base") == {"noted"}, "a decorator runs on import"
    assert base.called() == [1, 2]
    assert functions(recorder, "base") == {"noted", "called", "inner"}
    assert base.called.__doc__ == "Doc."


def test_the_front_door_finds_and_is_not_noted(module):
    base, recorder = module
    assert not hasattr(sys.modules[base.__name__.partition(".")[0]], "elsewhere")
    assert "" not in recorder.ran()


def test_generators_and_methods(module):
    base, recorder = module
    made = base.generator()
    assert "generator" not in functions(recorder, "base"), "nothing of it has run"
    assert list(made) == [3]
    assert "generator" in functions(recorder, "base")
    assert functions(recorder, "inside.deep") == {"Deep.value", "Deep.Nested.run"}


def test_a_function_is_noted_before_its_first_statement(module):
    """Which may fail, or be nothing but a docstring."""
    base, recorder = module
    assert base.words() is None
    for function in (base.fails, base.text):
        with pytest.raises(TypeError):
            function()
    with pytest.raises(TypeError):
        base.later().send(None)
    assert functions(recorder, "base") == {"noted", "words", "fails", "text", "later"}
    assert (base.words.__doc__, base.text.__doc__, base.fails.__doc__) == ("Doc.", "Doc.", None)


def test_a_method_is_noted_by_its_class_and_what_follows_by_itself(module):
    base, recorder = module
    made = base.after()()
    with pytest.raises(StopIteration, match="1"):
        made.run().send(None)
    assert functions(recorder, "base") == {"noted", "after", "Decorated.run"}
    made.rest()
    assert functions(recorder, "base") == {"noted", "after", "Decorated.run", "Decorated.rest"}


def test_only_the_packages_own_modules_are_compiled_anew(module):
    _, recorder = module
    finder, folder = _Finder(recorder), [str(recorder.folder)]
    for name in (f"{recorder.name}.base", f"{recorder.name}.skipped_not"):
        assert isinstance(finder.find_spec(name, folder).loader, _Loader)
    for name in (f"{recorder.name}.skipped", f"{recorder.name}_more.base", "base", f"{recorder.name}.nowhere"):
        assert finder.find_spec(name, folder) is None


def test_threads_and_the_backward_pass(module):
    base, recorder = module
    thread = threading.Thread(target=base.threaded)
    thread.start()
    thread.join()
    x = torch.tensor(3.0, requires_grad=True)
    base.Square.apply(x).backward()
    assert x.grad == 6
    assert {"threaded", "Square.forward", "Square.backward", "slope"} <= functions(recorder, "base")


def test_what_is_skipped_and_what_follows_the_end(module):
    base, recorder = module
    other = importlib.import_module(base.__name__.replace("base", "skipped"))
    assert other.f() == 1
    assert "skipped" not in recorder.ran()
    assert importlib.import_module(base.__name__.replace("base", "skipped_not")).f() == 1
    assert recorder.ran()["skipped_not"] == ["f"]
    recorder.stop()
    before = recorder.ran()
    assert set(before) == {"base", "skipped_not"}
    assert base.threaded() == 5
    assert base.after()().rest() is None
    assert recorder.ran() == before
    recorder.start()  # and nothing is lost by going on
    assert base.text.__doc__ == "Doc."
    assert base.words() is None
    assert "words" in functions(recorder, "base")


def test_the_interpreter_tells_of_the_package_alone(tmp_path, monkeypatch):
    """Its events are faked: they are given a code object of each place."""
    told = SimpleNamespace(events=SimpleNamespace(PY_START=1), DISABLE=object(), get_tool=lambda number: None)
    told.use_tool_id = told.set_events = told.free_tool_id = lambda *given: None
    told.register_callback = lambda tool, event, function: setattr(told, "started", function)
    monkeypatch.setattr(sys, "monitoring", told, raising=False)
    recorder = Recorder("p", tmp_path / "p")
    stop = recorder._monitor()
    for place in ("p/one.py", "p/inside/two.py", "p_more/three.py", "p.py", "q/p/four.py", "pq.py"):
        code = compile("def f():\n    pass\n", str(tmp_path / place), "exec").co_consts[0]
        assert told.started(code, 0) is told.DISABLE
    stop()
    assert recorder.ran() == {"one": ["f"], "inside.two": ["f"]}


def test_what_was_noted_by_its_file_is_named_by_its_module(tmp_path):
    """By file where the interpreter tells, by module where the code was compiled anew."""
    recorder = Recorder("p", tmp_path, skip=lambda module: module.split(".")[0] == "skipped")
    files = ("__init__.py", "inside/__init__.py", "inside/deep.py", "skipped.py", "skipped/x.py", "inside/skipped.py")
    recorder._seen |= {(str(tmp_path / file), "f") for file in files}
    recorder._seen |= {(module, "A.g") for module in ("", "inside.deep", "skipped.deep", "skipped_not")}
    inside = {"inside": ["f"], "inside.deep": ["A.g", "f"], "inside.skipped": ["f"]}
    assert recorder.ran() == inside | {"skipped_not": ["A.g"]}


def test_tracebacks_name_the_lines_of_the_source(module):
    base, _ = module
    assert base.never.__code__.co_firstlineno == CODE[: CODE.index("def never")].count("\n") + 1
