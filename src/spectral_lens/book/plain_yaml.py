"""YAML as people mean it: the core schema of YAML 1.2, and mistakes said in one line."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

_CORE = (  # https://yaml.org/spec/1.2.2, section 10.3.2; a number with a zero before it stays text: 010 is no 8
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader, whose YAML 1.1 makes dates of 2020-01-01, 90 of 1:30, false of no and text of 1e-3."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  one of its own, filled below

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise yaml.constructor.ConstructorError(problem=f"{twice!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def load(text: str, name: str) -> Any:
    """What the YAML `text` says, in which `name` is the file or option that a message should speak of.

    Raises ValueError (one line) where the text is no YAML, names a key twice, or holds a value that cannot be made.

    >>> load("{rate: 1e-3, day: 2020-01-01, no: 7}", "example")
    {'rate': 0.001, 'day': '2020-01-01', 'no': 7}
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None and "\n" in text.strip() else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise ValueError(f"{name}{line}: {' '.join(str(problem).split())}.") from None
