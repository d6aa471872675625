"""A seed draws the same numbers on every device: all is drawn on the CPU, or where the caller's generator draws."""

import ast
from pathlib import Path

import torch

import spectral_lens
from spectral_lens.datasets import synthetic
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit

PACKAGE = Path(spectral_lens.__file__).parent
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli"}
CALLS = [
    (path.relative_to(PACKAGE).as_posix(), node)
    for path in sorted(PACKAGE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]


def named(call: ast.Call) -> str:
    return ast.unparse(call.func).removeprefix("torch.")


def test_generators_are_of_the_cpu() -> None:
    made = [(place, call) for place, call in CALLS if named(call) == "Generator"]
    assert len(made) > 10
    assert [f"{place}: {ast.unparse(call)}" for place, call in made if call.args or call.keywords] == []


def test_numbers_are_drawn_where_the_generator_is() -> None:
    drawn = [(place, call) for place, call in CALLS if named(call) in DRAWS]
    assert len(drawn) > 10
    elsewhere = [
        f"{place}: {ast.unparse(call)}"
        for place, call in drawn
        for given in [{keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}]
        if "device" in given and given["device"] != f"{given.get('generator')}.device"
    ]
    assert elsewhere == []


def test_the_global_stream_is_no_part_of_a_training() -> None:
    data = synthetic.correlated(64, seeds=[1, 2], device="cpu")
    options = {"seeds": [1, 2], "epochs": 2, "batch_size": 10, "device": "cpu"}
    model = mlp([data.x.shape[-1], 5, 2], dropout=0.2)
    first = fit(model, data, **options)
    torch.manual_seed(123)
    again = fit(model, synthetic.correlated(64, seeds=[1, 2], device="cpu"), **options)
    assert all(torch.equal(value, again.state[name]) for name, value in first.state.items())
