"""Fingerprints of code: what a chapter's cells say and what each function, constant and class of the package says.

A fingerprint is blind to words (docstrings, comments, the version number), to layout and to place: a function
that moves to another module keeps its own, under every Python that the package supports. It is taken from the source
text alone; nothing is imported.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

from spectral_lens.book import syntax
from spectral_lens.book.syntax import FUNCTION, Bound, Chain

_AFTER = ("book", "claims")  # what these do in a run is done again when the site is built, from the record's data,
_DURING = ("claims.estimators",)  # but this, which makes the data
REST = "<module>"  # what a module does on import besides defining names
_LENGTH = 12  # hexadecimal digits of a fingerprint: 48 bits for some hundred names

Ran = Mapping[str, Mapping[str, str]]  # module -> qualified name -> fingerprint
Place = tuple[str, str]  # module and qualified name


def of_cells(sources: Iterable[str]) -> str:
    """Fingerprint of a notebook's code cells, one for all.

    Imports count as the names that they bind, wherever in their cell they stand: what was imported from another module
    of the package than today is the same. A cell that does not parse counts by its text.
    """
    return _digest("\0".join(syntax.cell(source) for source in sources), 64)


def index(package: Path) -> "Index":
    """All definitions of the package in that folder, as its files are now (but what is `after` a run)."""
    paths = (path for path in sorted(package.rglob("*.py")) if not after(syntax.module_name(path, package)))
    return _index(package, tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


def after(module: str) -> bool:
    """Whether what a module (its name below the package) does in a run is no part of the record.

    >>> [after(name) for name in ("claims", "claims.verdicts", "claims.estimators", "explain.lrp", "bookings")]
    [True, True, False, False, False]
    """
    return module.split(".")[0] in _AFTER and module not in _DURING


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
            for chain in syntax.chains(node, skip=not module.is_function(place[1])):
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

    def resolve(self, scope: "_Scope", chain: Chain) -> tuple[str, str | None, int] | None:
        """Where a dotted name leads: (module, definition or None for the module itself, how many parts it took)."""
        base, name = scope.imports.get(chain[0], (scope.module.name, chain[0]) if scope.module else ("", None))
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

    def _named(self, scope: "_Scope", chain: Chain) -> set[Place]:
        found = self.resolve(scope, chain)
        if found is None or found[1] is None or self.modules[found[0]].is_function(found[1]):
            return set()
        return {(found[0], found[1])}

    def _named_by_cell(self, source: str) -> set[Place]:
        try:
            tree = ast.parse(syntax.without_magics(source))
        except SyntaxError:
            return set()
        scope = _Scope(None, syntax.imports(tree, ""))
        found: set[Place] = set()
        for base, name in scope.imports.values():
            at = self._follow(base, name)
            if at is None and name is not None and len(self.places.get(name, ())) == 1:
                at = (self.places[name][0], name)  # offered by a module's own __getattr__
            if at is not None and at[1] is not None and not self.modules[at[0]].is_function(at[1]):
                found.add((at[0], at[1]))
        for chain in syntax.chains(tree, skip=False):
            if chain[0] in scope.imports:
                found |= self._named(scope, chain)
        return found

    def _print(self, module: "_Module", name: str) -> str:
        def spell(of: ast.AST, free: frozenset[ast.AST], node: ast.AST, chain: Chain) -> Chain:
            """A dotted name without the package's modules in front."""
            if chain[0] not in module.imported or syntax.base(node) not in free:
                return chain
            found = self.resolve(_Scope.of(of, module), chain)
            return chain[found[2] - 1 :] if found is not None and found[1] is not None else chain

        parts = []
        for node in module.nodes(name):
            skeleton = isinstance(node, ast.ClassDef)
            spelled = partial(spell, node, syntax.free_names(node))
            parts.append(syntax.canonical(node, spelled, skeleton=skeleton))
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
    imports: Bound  # by those outside functions
    imported: frozenset[str]  # the names that any import from the package binds, inside functions too

    @property
    def names(self) -> Iterable[str]:
        return self.nodes_of

    def nodes(self, name: str) -> tuple[ast.AST, ...]:
        return self.nodes_of.get(name, ())

    def is_function(self, name: str) -> bool:
        return any(isinstance(node, FUNCTION) for node in self.nodes(name))


@dataclass(frozen=True)
class _Scope:
    """What names mean inside one definition."""

    module: _Module | None
    imports: Bound

    @staticmethod
    def of(node: ast.AST, module: _Module) -> "_Scope":
        return _Scope(module, syntax.imports(node, module.around))


@lru_cache(maxsize=4)
def _index(package: Path, files: tuple[tuple[Path, int, int], ...]) -> Index:
    modules = (_module(package, path, changed) for path, changed, _ in files)
    return Index({module.name: module for module in modules})


@lru_cache(maxsize=1024)
def _module(package: Path, path: Path, _changed: int) -> _Module:
    inside = syntax.module_name(path, package)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: dict[str, list[ast.AST]] = {}
    _define(tree.body, "", nodes)
    around = inside if path.name == "__init__.py" else inside.rpartition(".")[0]
    imported = frozenset(syntax.imports(tree, around))
    return _Module(
        inside, around, {k: tuple(v) for k, v in nodes.items()}, syntax.imports(tree, around, top=True), imported
    )


def _define(body: Iterable[ast.stmt], prefix: str, nodes: dict[str, list[ast.AST]]) -> None:
    """Sort the statements of a module or class by the name that they define."""
    for statement in body:
        if isinstance(statement, FUNCTION):
            nodes.setdefault(prefix + statement.name, []).append(statement)
        elif isinstance(statement, ast.ClassDef):
            nodes.setdefault(prefix + statement.name, []).append(statement)
            _define(statement.body, f"{prefix}{statement.name}.", nodes)
        elif prefix or isinstance(statement, (*syntax.IMPORT, ast.Pass)) or syntax.is_words(statement):
            continue  # a class's own statements belong to its skeleton
        elif syntax.for_types_only(statement):
            continue
        elif bound := sorted(syntax.bound_names(statement)):
            for name in bound:
                nodes.setdefault(name, []).append(statement)
            _define(syntax.definitions(statement), "", nodes)
        elif not syntax.is_main(statement):
            nodes.setdefault(REST, []).append(statement)


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
