"""What is checked of a function's calls, counted by a decorator that stands for jaxtyping's."""

import functools

import jaxtyping
import pytest
from beartype import beartype

from spectral_lens.relevance.scores import ranking
from spot_checks import FIRST, STRIDE, spared


def counting(checked):
    """In place of `jaxtyped`: notes in `checked` what each checked call was given."""

    def jaxtyped(*, typechecker):
        def decorate(function):
            @functools.wraps(function)
            def call(x):
                checked.append(x)
                return function(x)

            return call

        return decorate

    return spared(jaxtyped)


def test_the_first_calls_are_checked_and_some_of_the_later():
    checked = []
    double = counting(checked)(typechecker=None)(lambda x: 2 * x)
    assert [double(x) for x in range(1000)] == [2 * x for x in range(1000)]
    assert checked == [*range(FIRST), *(x for x in range(FIRST, 1000) if x % STRIDE == 0)]
    assert max(checked) > FIRST


def test_inner_functions_are_counted_together():
    checked = []
    jaxtyped = counting(checked)

    def outer(x):
        @jaxtyped(typechecker=None)
        def inner(y):
            return x + y

        return inner(1)

    assert [outer(x) for x in range(2 * FIRST)] == [x + 1 for x in range(2 * FIRST)]
    assert FIRST <= len(checked) < FIRST + 2 * FIRST // STRIDE + 1


def test_what_is_no_function_is_handed_on():
    handed = []
    assert spared(lambda: lambda each: handed.append(each) or each)()(int) is int
    assert handed == [int]


def test_it_is_installed():
    """As the import hook decorates: a function that nobody has called yet is checked."""

    @jaxtyping.jaxtyped(typechecker=beartype)
    def doubled(x: float) -> float:
        return 2 * x

    assert doubled(1.5) == 3.0
    with pytest.raises(jaxtyping.TypeCheckError):
        doubled("no number")
    assert doubled.__code__.co_filename == jaxtyping.__file__
    assert ranking.__code__.co_filename == jaxtyping.__file__
