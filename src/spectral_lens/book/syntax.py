"""Source code as syntax: the text that is left without words, layout and places, and what names and imports say.

The same under every Python that the package supports. Knows the package's name and nothing of its files but paths.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = "spectral_lens"
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITION = (*FUNCTION, ast.ClassDef)
IMPORT = (ast.Import, ast.ImportFrom)
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPE = (*DEFINITION, ast.Lambda, *_COMPREHENSION)
_SHELL = re.compile(r"^\s*[%!].*$", re.MULTILINE)

Bound = dict[str, tuple[str, str | None]]  # name -> module below the package, and the name in it (None: the module)
Chain = tuple[str, ...]  # a dotted name in its parts


def module_name(path: Path, package: Path) -> str:
    """The name, below the package in the folder `package`, of the module in that file; "" for the package itself."""
    return ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def without_magics(source: str) -> str:
    """A cell's source with IPython's own lines left blank, so that Python's parser reads it."""
    return _SHELL.sub("", source)


@lru_cache(maxsize=4096)
def cell(source: str) -> str:
    """A cell's code: its magics, what its imports bind (sorted), and the rest; as it stands where it does not parse."""
    try:
        tree = ast.parse(without_magics(source))
    except SyntaxError:
        return source.strip()
    magics = [line.strip() for line in _SHELL.findall(source)]
    imported = sorted(text for statement in tree.body if isinstance(statement, IMPORT) for text in _bindings(statement))
    rest = [canonical(statement) for statement in tree.body if not isinstance(statement, IMPORT)]
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


def canonical(node: Any, spell: Callable[[ast.AST, Chain], Chain] | None = None, skeleton: bool = False) -> str:
    """The syntax tree as text, without places and words.

    `spell` writes dotted names (it is given the node and its parts), `skeleton` leaves methods out.
    """
    if isinstance(node, list):
        return "[" + ",".join(canonical(item, spell) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__}:{node!r}"
    if isinstance(node, IMPORT):
        return "import[" + ",".join(sorted(_bindings(node))) + "]"
    if spell is not None and isinstance(node, ast.Attribute) and (parts := dotted(node)) is not None:
        return ".".join(spell(node, parts))
    if isinstance(node, ast.Name):
        return node.id
    fields = []
    for name, value in ast.iter_fields(node):
        if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
            continue
        if name == "body" and isinstance(node, DEFINITION):
            value = [statement for statement in value if not is_words(statement)]
            if skeleton:
                names = sorted({s.name for s in value if isinstance(s, DEFINITION)})
                value = [s for s in value if not isinstance(s, DEFINITION)]
                fields.append("methods=" + ",".join(names))
        fields.append(f"{name}={canonical(value, spell)}")
    return f"{type(node).__name__}({';'.join(fields)})"


def is_words(statement: ast.stmt) -> bool:
    """A docstring, or the version number."""
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets] in (["__version__"], ["__all__"])
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def imports(tree: ast.AST, around: str, top: bool = False) -> Bound:
    """What imports from the package bind in `tree`: name -> (module below the package, name in it or None).

    `around` is the package that the module stands in, for relative imports. With `top` those inside functions are left.
    """
    found: Bound = {}
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
        if not isinstance(child, FUNCTION):
            yield from _outside_functions(child)


def chains(node: ast.AST, skip: bool) -> Iterator[Chain]:
    """The dotted names read in `node` that are no local ones, the longest of each; `skip` leaves its functions out."""
    free = free_names(node)
    waiting = [node]
    while waiting:
        node = waiting.pop()
        parts = dotted(node)
        if parts is None:
            waiting += [child for child in ast.iter_child_nodes(node) if not (skip and isinstance(child, FUNCTION))]
        elif base(node) in free and isinstance(node.ctx, ast.Load):  # type: ignore[attr-defined]
            yield parts


def base(node: ast.AST) -> ast.AST:
    """The name that `a.b.c` begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def dotted(node: ast.AST) -> Chain | None:
    """`a.b.c` in its parts; None for what is no such name."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return None if before is None else (*before, node.attr)
    return None


def for_types_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")


def is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def free_names(node: ast.AST) -> frozenset[ast.AST]:
    """The `ast.Name` nodes in `node` that mean something outside it: no local name of a scope that they stand in."""
    found: set[ast.AST] = set()
    waiting: list[tuple[ast.AST, frozenset[str], frozenset[str]]] = [(node, frozenset(), frozenset())]
    while waiting:
        node, hidden, around = waiting.pop()  # a class hides its names from its own statements, not from its methods
        if isinstance(node, ast.Name) and node.id not in hidden:
            found.add(node)
        if isinstance(node, _SCOPE):
            outer, inner = _parts(node)
            below = (around | local_names(node)) - _declared(node, ast.Global)
            waiting += [(part, hidden, around) for part in outer]
            waiting += [(part, below, around if isinstance(node, ast.ClassDef) else below) for part in inner]
        else:
            waiting += [(child, hidden, around) for child in ast.iter_child_nodes(node)]
    return frozenset(found)


def local_names(scope: ast.AST) -> frozenset[str]:
    """Names that a function, lambda, class or comprehension binds itself, other than by import.

    Neither those of the scopes in it, nor what stands before its body: defaults, decorators and annotations.
    """
    found: set[str] = set()
    if isinstance(scope, (*FUNCTION, ast.Lambda)):
        found |= {argument.arg for argument in _arguments(scope.args)}
    for node in _inside(scope):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                found.add(name)
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in _inside(scope)
        if isinstance(node, IMPORT)
        for alias in node.names
    }
    return frozenset(found - imported - _declared(scope, ast.Global, ast.Nonlocal))


def _declared(scope: ast.AST, *kinds: type[ast.Global | ast.Nonlocal]) -> frozenset[str]:
    return frozenset(name for node in _inside(scope) if isinstance(node, kinds) for name in node.names)


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes that belong to the scope itself; of the scopes in it, what is evaluated outside them."""
    waiting = list(_parts(scope)[1])
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, _COMPREHENSION):  # `:=` binds around it
            yield from (inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
        waiting += _parts(node)[0] if isinstance(node, _SCOPE) else ast.iter_child_nodes(node)


def _parts(scope: Any) -> tuple[list[ast.AST], list[ast.AST]]:
    """What of a scope is evaluated outside it, and what inside."""
    if isinstance(scope, _COMPREHENSION):
        first = scope.generators[0].iter
        rest = [*scope.generators[0].ifs, scope.generators[0].target, *scope.generators[1:]]
        return [first], [*rest, *(child for child in ast.iter_child_nodes(scope) if child not in scope.generators)]
    if isinstance(scope, ast.ClassDef):
        return [*scope.decorator_list, *scope.bases, *scope.keywords], list(scope.body)
    outer = [*scope.args.defaults, *(each for each in scope.args.kw_defaults if each is not None)]
    if isinstance(scope, ast.Lambda):
        return outer, [scope.body]
    notes = [*(each.annotation for each in _arguments(scope.args)), scope.returns]
    return [*outer, *scope.decorator_list, *(note for note in notes if note is not None)], list(scope.body)


def _arguments(of: ast.arguments) -> list[ast.arg]:
    named = [*of.posonlyargs, *of.args, *of.kwonlyargs]
    return [*named, *(each for each in (of.vararg, of.kwarg) if each is not None)]


def definitions(node: ast.AST) -> Iterator[Any]:
    """The functions and classes in `node` that stand in no other."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITION):
            yield child
        else:
            yield from definitions(child)


def bound_names(statement: ast.stmt) -> set[str]:
    """The module's names that the statement makes or changes: `a = 1`, `a[0] = 1`, `a.append(1)`, also in a block."""
    found = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store | ast.Del)}
    found |= {node.name for node in definitions(statement)}
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
