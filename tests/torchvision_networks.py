"""What layer-wise relevance propagation takes of torchvision's networks: `python tests/torchvision_networks.py`.

Every network of torchvision's list for classification is explained, or refused by name, with random weights and random
statistics of its normalisations, in double precision at a small image.  What is explained is compared with three
independent results:

* without clipping, LRP-0 is the gradient times the input, by automatic differentiation;
* without biases and shifts, relevance adds up to the output, whatever the rule;
* the generalised gamma rule is zennit's, which works on a copy that has a module for each call.

The table is written to data/torchvision.csv, which the page of the API shows.
"""

import argparse
import copy
import csv
import gc
import operator
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spectral_lens.datasets.vision import torchvision
from spectral_lens.explain.gradients import gradient_x_input
from spectral_lens.explain.lrp import AssumptionWarning, composite, gamma, generalised_gamma, lrp, weighted, zero
from spectral_lens.nn.piecewise_linear import CLIPPING, piecewise_linear

TABLE = Path(__file__).parents[1] / "data" / "torchvision.csv"
FIELDS = (
    "network", "family", "parameters", "image", "layers", "gradient_x_input", "sums", "zennit", "gamma_warns",
    "gamma", "generalised_gamma", "refused",
)  # fmt: skip
OUTPUTS = [3, 592]
IMAGE = {"Inception3": 75}  # pixels on a side that a family needs at least
AMOUNT, TINY = 0.25, 1e-100
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def names() -> list[str]:
    models = torchvision().models
    return sorted(models.list_models(module=models))


def build(name: str) -> nn.Module:
    """The network with random weights, statistics and biases, in evaluation mode."""
    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of how weights are drawn
        model = torchvision().models.get_model(name, weights=None).eval().requires_grad_(False)
    for part in model.modules():
        if isinstance(part, NORMS):
            part.running_var.uniform_(0.5, 2)
            part.weight.uniform_(0.5, 2)
            for each in (part.running_mean, part.bias):
                each.normal_(0, 0.3)
        elif getattr(part, "bias", None) is not None and isinstance(part.bias, Tensor):
            part.bias.normal_(0, 0.1)
    return model


def row(name: str) -> dict[str, str | int]:
    """One line of the table: what was compared, or why the network is refused."""
    model = build(name)
    side = IMAGE.get(type(model).__name__, 64)
    found = {
        "network": name, "family": type(model).__name__, "image": side,
        "parameters": sum(each.numel() for each in model.parameters()),
    }  # fmt: skip
    try:
        found["layers"] = len(weighted(model))
    except ValueError as error:
        return found | {"refused": str(error).removeprefix("no rule for ").split(": LRP goes")[0]}
    x = torch.rand(1, 3, side, side, dtype=torch.float64)
    return found | compared(model.double(), x)


def compared(model: nn.Module, x: Tensor) -> dict[str, str]:
    """Largest deviations, relative to the largest number."""
    found, network = {}, piecewise_linear(model)
    if not any(network.operation(node) in CLIPPING for node in network.graph.graph.nodes):
        expected = gradient_x_input(model, x, outputs=OUTPUTS)
        found["gradient_x_input"] = _digit(_apart(lrp(model, x, rules=zero(), outputs=OUTPUTS), expected))
    general = lrp(model, x, rules=generalised_gamma(AMOUNT), outputs=OUTPUTS)
    found["zennit"] = _digit(_apart(general, zennits(model, x)))
    without_biases(model)
    out = model(x)[:, OUTPUTS]
    for rule in (gamma(AMOUNT), generalised_gamma(AMOUNT)):
        chosen = composite(model, first=rule, inner=rule, last=zero())
        with warnings.catch_warnings(record=True, action="always", category=AssumptionWarning) as warned:
            relevance = lrp(model, x, rules=chosen, outputs=OUTPUTS)
        found[rule.name] = _digit(relevance.abs().max() / out.abs().max())
        found.setdefault("gamma_warns", "yes" if warned else "no")
    return found | {"sums": _digit(_apart(relevance.flatten(2).sum(2), out))}


def without_biases(model: nn.Module) -> None:
    """Take biases, shifts and running means from a model."""
    for part in model.modules():
        for name in ("bias", "running_mean"):
            if isinstance(given := getattr(part, name, None), Tensor):
                given.zero_()


def zennits(model: nn.Module, x: Tensor) -> Tensor:
    """The relevance that zennit's Gamma gives."""
    torchvision()  # first, see there
    from zennit.attribution import Gradient
    from zennit.canonizers import NamedMergeBatchNorm
    from zennit.composites import LayerMapComposite
    from zennit.layer import Sum
    from zennit.rules import Epsilon, Gamma, Norm, Pass

    apart = modules(model)
    averages = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, Mean, Sum)
    rules = [
        ((nn.Conv2d, nn.Linear), Gamma(AMOUNT, TINY)),
        ((nn.ReLU, nn.ReLU6), Pass()),
        (averages, Norm(TINY)),
        (NORMS, Epsilon(TINY)),  # those that no layer takes up
    ]
    merged = NamedMergeBatchNorm([([before], norm) for before, norm in followed(apart)])
    composed = LayerMapComposite(rules, canonizers=[merged])
    found = []
    for k in OUTPUTS:
        with Gradient(model=apart, composite=composed) as attribute:
            found.append(attribute(x.clone(), lambda out, k=k: out.detach() * torch.eye(out.shape[1])[k].to(out))[1])
    return torch.stack(found, 1)


class Mean(nn.Module):
    """A mean over axes."""

    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(*self.axes)


AS_MODULES = {
    F.relu: nn.ReLU, F.avg_pool2d: nn.AvgPool2d, F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d, "mean": Mean,
}  # fmt: skip


def modules(model: nn.Module) -> fx.GraphModule:
    """The model with a module for each call that zennit has to see, nothing of it in place; layers stay its own."""
    from zennit.layer import Sum

    graph = fx.symbolic_trace(model)
    for node in list(graph.graph.nodes):
        new, given = None, next(iter(node.args), None)
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, NORMS):  # zennit merges the variance and leaves epsilon behind
            new = copy.deepcopy(layer)
            new.running_var, new.eps = new.running_var + new.eps, 0.0
        elif hasattr(layer, "inplace"):
            new = copy.deepcopy(layer)
            new.inplace = False
        elif node.target in (operator.add, operator.iadd, torch.add):
            with graph.graph.inserting_before(node):
                new, given = Sum(), graph.graph.call_function(torch.stack, (tuple(node.args), -1))
        elif node.target in AS_MODULES:
            new = AS_MODULES[node.target](*node.args[1:], **node.kwargs)
        if new is not None:
            _call(graph, node, new, given)
    graph.recompile()
    return graph


def _call(graph: fx.GraphModule, node: fx.Node, module: nn.Module, given: fx.Node) -> None:
    name = f"call_{node.name}"
    graph.add_submodule(name, module)
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(name, (given,))
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)


def followed(graph: fx.GraphModule) -> list[tuple[str, str]]:
    """The layers whose output a normalisation alone takes, each with that."""
    layers = {
        str(node.target): graph.get_submodule(str(node.target))
        for node in graph.graph.nodes
        if node.op == "call_module"
    }
    pairs = [
        (str(before.target), str(node.target))
        for node in graph.graph.nodes
        if isinstance(layers.get(str(node.target)), NORMS) and len((before := node.args[0]).users) == 1
    ]
    return [pair for pair in pairs if isinstance(layers.get(pair[0]), nn.Conv2d | nn.Linear)]


def _apart(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs().max() / expected.abs().max()


def _digit(number: Tensor) -> str:
    return f"{number:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", help="print these alone; all are written to the table")
    chosen = parser.parse_args().networks
    torch.set_num_threads(1)
    made = f"# Made by `python tests/torchvision_networks.py` with torch {torch.__version__.partition('+')[0]}"
    used = "".join(f", {each} {version(each).partition('+')[0]}" for each in ("torchvision", "zennit"))
    with sys.stdout if chosen else TABLE.open("w", encoding="utf-8", newline="") as file:
        file.write(f"{made}{used}.\n")
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        for name in chosen or names():
            table.writerow(row(name))
            file.flush()
            gc.collect()  # graphs are cycles, which hold the weights


if __name__ == "__main__":
    main()
