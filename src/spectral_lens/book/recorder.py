"""Notes which functions of a package run, in whatever thread, at next to no cost.

From Python 3.12 on the interpreter tells (`sys.monitoring`), once for each function and then never again. Before, the
only general means, `sys.setprofile`, made a chapter of small operations 20 to 40% dearer and does not see threads that
compiled code starts; so the package's modules are compiled here, each function with one more statement that notes it.
"""

import ast
import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

from spectral_lens.book.syntax import module_name

_NOTED = "__ran__"


class Recorder:
    """The functions of the package `name` in `folder` that have run since `start`.

    skip: says of a module, by its name below the package, whether it is left out.
    Has to start before the package's modules are imported.
    """

    def __init__(self, name: str, folder: Path, skip: Callable[[str], bool] = lambda module: False) -> None:
        self.name, self.folder, self.skip = name, folder, skip
        self._seen: set[tuple[str, str]] = set()  # module or file, and qualified name
        self._notes = SimpleNamespace(add=self._seen.add)  # what compiled modules write to, until the end
        self._stop: Any = None

    def start(self) -> None:
        """Begin to note."""
        self._stop = self._monitor() if sys.version_info >= (3, 12) else self._hook()

    def stop(self) -> None:
        """Note no more."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def ran(self) -> dict[str, list[str]]:
        """The qualified names of the functions that ran, by module (its name below the package)."""
        found: dict[str, set[str]] = {}
        for place, name in self._seen.copy():
            module = module_name(Path(place), self.folder) if place.endswith(".py") else place
            # the package's own __init__ finds what others ask for: what it finds is noted where it stands
            if module and not self.skip(module):
                found.setdefault(module, set()).add(name)
        return {module: sorted(found[module]) for module in sorted(found)}

    def _monitor(self) -> Any:
        # mypy reads this file as Python 3.11's
        watch: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        inside, seen = f"{self.folder}{os.sep}", self._seen  # not the folder beside it whose name goes on
        tool = next(number for number in (3, 4, 2) if watch.get_tool(number) is None)

        def started(code: CodeType, offset: int) -> Any:
            # The bodies of modules and classes run on import, used or not: only functions have fast locals.
            if code.co_flags & CO_OPTIMIZED and code.co_filename.startswith(inside):
                seen.add((code.co_filename, code.co_qualname))
            return watch.DISABLE

        watch.use_tool_id(tool, "spectral_lens")
        watch.register_callback(tool, watch.events.PY_START, started)
        watch.set_events(tool, watch.events.PY_START)

        def stop() -> None:
            watch.set_events(tool, 0)
            watch.free_tool_id(tool)

        return stop

    def _hook(self) -> Any:
        finder = _Finder(self)
        sys.meta_path.insert(0, finder)
        self._notes.add = self._seen.add

        def stop() -> None:
            sys.meta_path.remove(finder)
            self._notes.add = lambda what: None

        return stop


class _Finder(MetaPathFinder):
    """Finds the package's modules as always, and has them loaded by `_Loader`."""

    def __init__(self, of: Recorder) -> None:
        self.of = of

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != self.of.name or self.of.skip(module):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, module, self.of._notes)
        return spec


class _Loader(SourceFileLoader):
    """Compiles a module with a note at the beginning of each function; no bytecode is kept."""

    def __init__(self, fullname: str, path: str, module: str, notes: SimpleNamespace) -> None:
        super().__init__(fullname, path)
        self.module, self.notes = module, notes

    def get_code(self, fullname: str) -> CodeType:
        tree = _Noting(self.module).visit(ast.parse(self.get_data(self.path)))
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[_NOTED] = self.notes
        super().exec_module(module)


class _Noting(ast.NodeTransformer):
    """Puts `__ran__.add((module, qualified name))` after the docstring of each function that stands in no other."""

    def __init__(self, module: str) -> None:
        self.module, self.around = module, ""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        before, self.around = self.around, f"{self.around}{node.name}."
        self.generic_visit(node)
        self.around = before
        return node

    def visit_FunctionDef(self, node: Any) -> ast.AST:
        at = int(ast.get_docstring(node, clean=False) is not None)
        where = node.body[min(at, len(node.body) - 1)]
        noted = ast.Attribute(ast.Name(_NOTED, ast.Load()), "add", ast.Load())
        what: Any = (self.module, self.around + node.name)
        call = ast.Expr(ast.Call(noted, [ast.Constant(what)], []))
        node.body.insert(at, ast.fix_missing_locations(ast.copy_location(call, where)))
        return node

    visit_AsyncFunctionDef = visit_FunctionDef
