"""Fingerprints of code: what a chapter's cells say and what each function, constant and class of the package says.

A fingerprint is blind to words (docstrings, comments, the version number), to layout and to place: a function
that moves to another module keeps its own, under every Python that the package supports. It is taken from the source
text alone; nothing is imported.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

PACKAGE = "spectral_lens"
AFTER = ("book", "claims")  # what these do in a run is done again when the site is built, from the record's data
REST = "<module>"  # what a module does on import besides defining names
_LENGTH = 12  # hexadecimal digits of a fingerprint: 48 bits for some hundred names
_SHELL = re.compile(r"^\s*[%!].*$", re.MULTILINE)
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORT = (ast.Import, ast.ImportFrom)

Ran = Mapping[str, Mapping[str, str]]  # module -> qualified name -> fingerprint
Place = tuple[str, str]  # module and qualified name


def without_magics(source: str) -> str:
    """A cell's source with IPython's own lines left blank, so that Python's parser reads it."""
    return _SHELL.sub("", source)


def of_cells(sources: Iterable[str]) -> str:
    """Fingerprint of a notebook's code cells, one for all.

    Imports count as the names that they bind, wherever in their cell they stand: what was imported from another module
    of the package than today is the same. A cell that does not parse counts by its text.
    """
    return _digest("\0".join(_cell(source) for source in sources), 64)


def index(package: Path) -> "Index":
    """All definitions of the package in that folder, as its files are now (but what is `AFTER` a run)."""
    paths = (path for path in sorted(package.rglob("*.py")) if path.relative_to(package).parts[0] not in AFTER)
    return _index(package, tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


@dataclass(frozen=True)
class Index:
    """The definitions of a package: their fingerprints, and which constants and classes each of them names."""

    modules: Mapping[str, "_Module"]

    @cached_property
    def prints(self) -> Mapping[Place, str]:
        """The fingerprint of each definition by its place."""
        return {(m.name, name): self._print(m, name) for m in self.modules.values() for name in m.names}

    @cached_property
    def places(self) -> Mapping[str, tuple[str, ...]]:
        """The modules that define a qualified name."""
        found: dict[str, list[str]] = {}
        for module, name in self.prints:
            found.setdefault(name, []).append(module)
        return {name: tuple(modules) for name, modules in found.items()}

    def snapshot(self, ran: Mapping[str, Iterable[str]], cells: Iterable[str] = ()) -> dict[str, dict[str, str]]:
        """What a run stands on: the functions that ran, and the constants and classes that they or the `cells` name.

        `ran` holds qualified names by module ("fit", "Relevance.rank", "fit.<locals>.step" for a local function, which
        counts as the function around it). A class counts by its skeleton (bases, attributes, names of methods), with
        the classes it is derived from: a method that was not run does not count, a new one does.
        """
        waiting: set[Place] = set()
        for module, names in ran.items():
            waiting |= {(module, name) for name in map(self.owner, names) if (module, name) in self.prints}
        called = {place for place in waiting if self.modules[place[0]].is_function(place[1])}
        waiting |= {(module, name.rpartition(".")[0]) for module, name in called if "." in name}
        for cell in cells:
            waiting |= self._named_by_cell(cell)
        found: set[Place] = set()
        while waiting:
            place = waiting.pop()
            if place not in found and place in self.prints:
                found.add(place)
                waiting |= self.needs(place)
        kept: dict[str, dict[str, str]] = {}
        for module, name in sorted(found):
            kept.setdefault(module, {})[name] = self.prints[module, name]
        return kept

    def changed(self, then: Ran) -> tuple[Place, ...]:
        """Which of the definitions of an earlier `snapshot` are no longer as they were.

        Where the module lost the name, a definition of that name anywhere with the same fingerprint will do.
        """
        return tuple(
            (module, name)
            for module, names in sorted(then.items())
            for name, print_ in sorted(names.items())
            if not self._stands(module, name, print_)
        )

    def needs(self, place: Place) -> set[Place]:
        """The constants and classes (never functions) that the definition at `place` names."""
        module = self.modules[place[0]]
        found = {(place[0], REST)} & self.prints.keys()
        for node in module.nodes(place[1]):
            scope = _Scope.of(node, module)
            for chain in _chains(node, skip=not module.is_function(place[1])):
                found |= self._named(scope, chain)
        return found - {place}

    @staticmethod
    def dotted(place: Place) -> str:
        """The place for a reader: "training.fit"."""
        return ".".join(place).lstrip(".")

    @staticmethod
    def owner(name: str) -> str:
        """The function or method that the code object of that qualified name was written in."""
        return name.partition(".<locals>")[0].partition(".<lambda>")[0]

    def resolve(self, scope: "_Scope", chain: tuple[str, ...]) -> tuple[str, str | None, int] | None:
        """Where a dotted name leads: (module, definition or None for the module itself, how many parts it took)."""
        base, name = scope.imports.get(chain[0], (scope.module.name, chain[0]) if scope.module else ("", None))
        if chain[0] in scope.local and chain[0] not in scope.imports:
            return None
        at = self._follow(base, name)
        used = 1
        while at is not None and at[1] is None and used < len(chain):
            further = self._follow(at[0], chain[used])
            if further is None:
                break
            at, used = further, used + 1
        return None if at is None else (*at, used)

    def _follow(self, module: str, name: str | None, depth: int = 0) -> tuple[str, str | None] | None:
        if module not in self.modules or depth > 20:
            return None
        if name is None:
            return module, None
        known = self.modules[module]
        if name in known.nodes_of:
            return module, name
        if name in known.imports:
            return self._follow(*known.imports[name], depth + 1)
        inside = f"{module}.{name}".lstrip(".")
        return (inside, None) if inside in self.modules else None

    def _named(self, scope: "_Scope", chain: tuple[str, ...]) -> set[Place]:
        found = self.resolve(scope, chain)
        if found is None or found[1] is None or self.modules[found[0]].is_function(found[1]):
            return set()
        return {(found[0], found[1])}

    def _named_by_cell(self, source: str) -> set[Place]:
        try:
            tree = ast.parse(without_magics(source))
        except SyntaxError:
            return set()
        scope = _Scope(None, frozenset(), _imports(tree, ""))
        found: set[Place] = set()
        for base, name in scope.imports.values():
            at = self._follow(base, name)
            if at is None and name is not None and len(self.places.get(name, ())) == 1:
                at = (self.places[name][0], name)  # offered by a module's own __getattr__
            if at is not None and at[1] is not None and not self.modules[at[0]].is_function(at[1]):
                found.add((at[0], at[1]))
        for chain in _chains(tree, skip=False):
            if chain[0] in scope.imports:
                found |= self._named(scope, chain)
        return found

    def _print(self, module: "_Module", name: str) -> str:
        def spell(node: ast.AST, chain: tuple[str, ...]) -> tuple[str, ...]:
            """A dotted name without the package's modules in front."""
            if len(chain) == 1 or chain[0] not in module.imported:
                return chain
            found = self.resolve(_Scope.of(node, module), chain)
            return chain[found[2] - 1 :] if found is not None and found[1] is not None else chain

        parts = []
        for node in module.nodes(name):
            skeleton = isinstance(node, ast.ClassDef)
            parts.append(_canonical(node, partial(spell, node), skeleton=skeleton))
        return _digest("\0".join(parts), _LENGTH)

    def _stands(self, module: str, name: str, print_: str) -> bool:
        here = self.prints.get((module, name))
        if here is not None:
            return here == print_
        return any(self.prints[other, name] == print_ for other in self.places.get(name, ()))


@dataclass(frozen=True)
class _Module:
    """A module's definitions by qualified name, each with the statements that make it, and what its imports bind."""

    name: str  # below the package, "" for the package itself
    around: str  # the package that it stands in, where relative imports begin
    nodes_of: Mapping[str, tuple[ast.AST, ...]]
    imports: Mapping[str, tuple[str, str | None]]  # by those outside functions
    imported: frozenset[str]  # the names that any import from the package binds, inside functions too

    @property
    def names(self) -> Iterable[str]:
        return self.nodes_of

    def nodes(self, name: str) -> tuple[ast.AST, ...]:
        return self.nodes_of.get(name, ())

    def is_function(self, name: str) -> bool:
        return any(isinstance(node, _FUNCTION) for node in self.nodes(name))


@dataclass(frozen=True)
class _Scope:
    """What names mean inside one definition."""

    module: _Module | None
    local: frozenset[str]
    imports: Mapping[str, tuple[str, str | None]]

    @staticmethod
    def of(node: ast.AST, module: _Module) -> "_Scope":
        inside = _imports(node, module.around)
        return _Scope(module, _locals(node) if isinstance(node, _FUNCTION) else frozenset(), inside)


@lru_cache(maxsize=4)
def _index(package: Path, files: tuple[tuple[Path, int, int], ...]) -> Index:
    modules = (_module(package, path, changed) for path, changed, _ in files)
    return Index({module.name: module for module in modules})


@lru_cache(maxsize=1024)
def _module(package: Path, path: Path, _changed: int) -> _Module:
    name = ".".join(path.relative_to(package).with_suffix("").parts)
    inside = name.removesuffix("__init__").rstrip(".")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: dict[str, list[ast.AST]] = {}
    _define(tree.body, "", nodes)
    around = inside if path.name == "__init__.py" else inside.rpartition(".")[0]
    imported = frozenset(_imports(tree, around))
    return _Module(inside, around, {k: tuple(v) for k, v in nodes.items()}, _imports(tree, around, top=True), imported)


def _define(body: Iterable[ast.stmt], prefix: str, nodes: dict[str, list[ast.AST]]) -> None:
    """Sort the statements of a module or class by the name that they define."""
    for statement in body:
        if isinstance(statement, _FUNCTION):
            nodes.setdefault(prefix + statement.name, []).append(statement)
        elif isinstance(statement, ast.ClassDef):
            nodes.setdefault(prefix + statement.name, []).append(statement)
            _define(statement.body, f"{prefix}{statement.name}.", nodes)
        elif prefix or isinstance(statement, (*_IMPORT, ast.Pass)) or _is_words(statement):
            continue  # a class's own statements belong to its skeleton
        elif _for_types_only(statement):
            continue
        elif bound := sorted(_bound(statement)):
            for name in bound:
                nodes.setdefault(name, []).append(statement)
            _define((n for n in ast.walk(statement) if isinstance(n, ast.ClassDef | ast.FunctionDef)), "", nodes)
        elif not _is_main(statement):
            nodes.setdefault(REST, []).append(statement)


def _bound(statement: ast.stmt) -> set[str]:
    """The module's names that the statement makes or changes: `a = 1`, `a[0] = 1`, `a.append(1)`, also in a block."""
    found = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store | ast.Del)}
    for node in ast.walk(statement):
        target: ast.AST | None = None
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            target = node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            target = node.value.func
        while isinstance(target, ast.Subscript | ast.Attribute):
            target = target.value
            if isinstance(target, ast.Name):
                found.add(target.id)
    return found


def _is_words(statement: ast.stmt) -> bool:
    """A docstring, or the version number."""
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets] in (["__version__"], ["__all__"])
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _for_types_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _imports(tree: ast.AST, around: str, top: bool = False) -> dict[str, tuple[str, str | None]]:
    """What imports from the package bind in `tree`: name -> (module below the package, name in it or None).

    `around` is the package that the module stands in, for relative imports. With `top` those inside functions are left.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for node in _outside_functions(tree) if top else ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    inside = alias.name.partition(".")[2]
                    found |= {alias.asname: (inside, None)} if alias.asname else {PACKAGE: ("", None)}
        elif isinstance(node, ast.ImportFrom) and (base := _base(node, around)) is not None:
            found |= {alias.asname or alias.name: (base, alias.name) for alias in node.names}
    return found


def _base(node: ast.ImportFrom, around: str) -> str | None:
    """The module below the package that `from ... import` names; None for another package."""
    if not node.level:
        first, _, rest = (node.module or "").partition(".")
        return rest if first == PACKAGE else None
    parts = around.split(".") if around else []
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _FUNCTION):
            yield from _outside_functions(child)


def _locals(function: ast.AST) -> frozenset[str]:
    """Names that mean something of the function's own."""
    found: set[str] = set()
    shared: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.update({name} if node is not function else ())
            case ast.Global(names=names):
                shared.update(names)
    return frozenset(found - shared)


def _chains(node: ast.AST, skip: bool) -> Iterator[tuple[str, ...]]:
    """The dotted names read in `node`, the longest of each; with `skip`, those in its functions are left out."""
    chain = _chain(node)
    if chain is not None:
        yield from [chain] * isinstance(node.ctx, ast.Load)  # type: ignore[attr-defined]
        return
    for child in ast.iter_child_nodes(node):
        if not (skip and isinstance(child, _FUNCTION)):
            yield from _chains(child, skip)


def _chain(node: ast.AST) -> tuple[str, ...] | None:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        before = _chain(node.value)
        return None if before is None else (*before, node.attr)
    return None


@lru_cache(maxsize=4096)
def _cell(source: str) -> str:
    try:
        tree = ast.parse(without_magics(source))
    except SyntaxError:
        return source.strip()
    magics = [line.strip() for line in _SHELL.findall(source)]
    imported = sorted(
        text for statement in tree.body if isinstance(statement, _IMPORT) for text in _bindings(statement)
    )
    rest = [_canonical(statement) for statement in tree.body if not isinstance(statement, _IMPORT)]
    return "\n".join([*magics, *imported, *rest])


def _bindings(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """What an import binds, a line for each name: from the package without the module, from elsewhere with it."""
    found = []
    for alias in statement.names:
        module = getattr(statement, "module", None) or ""
        own = (module or alias.name).split(".")[0] == PACKAGE or getattr(statement, "level", 0)
        if own:
            name = alias.name if isinstance(statement, ast.ImportFrom) or alias.asname is None else ""
            found.append(f"own {name} as {alias.asname or alias.name}")
        else:
            found.append(f"{module} {alias.name} as {alias.asname or alias.name}")
    return found


def _canonical(node: Any, spell: Any = None, skeleton: bool = False) -> str:
    """The syntax tree as text, without places and words; `spell` writes dotted names, `skeleton` leaves methods out."""
    if isinstance(node, list):
        return "[" + ",".join(_canonical(item, spell) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__}:{node!r}"
    if isinstance(node, _IMPORT):
        return "import[" + ",".join(sorted(_bindings(node))) + "]"
    if spell is not None and isinstance(node, ast.Attribute) and (chain := _chain(node)) is not None:
        return ".".join(spell(chain))
    if isinstance(node, ast.Name):
        return node.id
    fields = []
    for name, value in ast.iter_fields(node):
        if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
            continue
        if name == "body" and isinstance(node, (*_FUNCTION, ast.ClassDef)):
            value = [statement for statement in value if not _is_words(statement)]
            if skeleton:
                names = sorted({s.name for s in value if isinstance(s, (*_FUNCTION, ast.ClassDef))})
                value = [s for s in value if not isinstance(s, (*_FUNCTION, ast.ClassDef))]
                fields.append("methods=" + ",".join(names))
        fields.append(f"{name}={_canonical(value, spell)}")
    return f"{type(node).__name__}({';'.join(fields)})"


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
