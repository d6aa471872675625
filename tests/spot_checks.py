"""Shapes and types are checked on a function's first calls, and on some of the later ones.

With all of them checked the tests take twice as long: most of that goes into functions that a training calls a hundred
thousand times in the same way, and into inner functions that are decorated anew whenever they are defined.
"""

import collections
import functools
import itertools
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import jaxtyping

FIRST, STRIDE = 200, 97  # calls that are all checked; of those after them each so-manieth is


def spared(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """`jaxtyping.jaxtyped` for each function's first calls and some later ones; an inner function's count together."""
    calls: dict[CodeType, Iterator[int]] = collections.defaultdict(itertools.count)

    def decorator(*arguments: Any, **options: Any) -> Callable[..., Any]:
        whole = jaxtyped(*arguments, **options)

        def decorate(function: Any) -> Any:
            if not isinstance(function, FunctionType):
                return whole(function)
            checked = functools.cache(lambda: whole(function))
            counted = calls[function.__code__]

            @functools.wraps(function)
            def call(*given: Any, **named: Any) -> Any:
                count = next(counted)
                return (checked() if count < FIRST or count % STRIDE == 0 else function)(*given, **named)

            call.__code__ = call.__code__.replace(co_filename=jaxtyping.__file__)  # a warning looks through both alike
            return call

        return decorate

    return decorator


def install() -> None:
    """Let what jaxtyping's import hook decorates from here on be checked sparingly."""
    jaxtyping.jaxtyped = spared(jaxtyping.jaxtyped)
