"""All outputs explained at once, against what a user of captum, zennit or Quantus would write.

    python benchmarks/explanations.py [--part lrp grid ssm flipping integrated shapley] [--repeats 3] [--images 100]

First the results are compared, then the clock runs.  Demanded of us, in times as fast:

    lrp          6 as loops over the outputs, 2.5 as one batch that holds each image ten times
    grid         6 as loops over the outputs
    ssm          10 as the explicit matrix, and within 1% of it
    flipping     10 as Quantus
    integrated   2.5 as the loop over the outputs
    shapley      10 as the loop over the outputs
"""

import argparse
import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vjp

from spectral_lens._runtime.devices import resolve
from spectral_lens._runtime.timing import shortest
from spectral_lens.datasets import cache, images, photographs
from spectral_lens.datasets.vision import torchvision
from spectral_lens.explain import gradients, lrp, pixel_flipping, pretrained, quality, shapley
from spectral_lens.nn import convnets
from spectral_lens.operators import golub_kahan, hutchinson, spectra
from timing import OURS, Line, Work, add_options, agree, best_of, clock, difference, seconds, surroundings, table, write

CLASSES, GAMMA, GRID = 10, 0.25, (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
TINY = 1e-30  # what the peers add to denominators
FEW = 10  # images of a comparison
STEPS, ORDERS, PERMUTATIONS, PATCH = 10, 5, 5, 4
SHARE, TOLERANCE, DRAWS = 0.1, 0.01, 20  # of the SSM
SAMPLED = 20  # outputs that the peer's thousand are extrapolated from
QUANTUS = "quantus scikit-image lazy-loader"  # with what it imports beyond this project


class Given(NamedTuple):
    model: nn.Sequential
    x: Tensor
    repeats: int

    def few(self) -> "Given":
        """The first images in double precision."""
        return Given(copy.deepcopy(self.model).double(), self.x[:FEW].double(), 1)


# ---- the clock


def race(part: str, given: Given, contenders: dict[str, Work], demands: dict[str, float]) -> list[Line]:
    timed = {name: clock(work) for name, work in contenders.items()}
    return table(part, best_of(given.repeats, timed), demands)


def fastest(make: Callable[[Any], Work], options: Iterable[Any]) -> Any:
    """The option whose work takes least."""
    return min(options, key=lambda option: shortest(make(option), repeats=2))


# ---- LRP for ten outputs


def captum_lrp(model: nn.Sequential, x: Tensor, gamma: float, target: int | Tensor) -> Tensor:
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule

    for layer in model:  # captum takes the rules off again
        if not isinstance(layer, nn.ReLU):
            layer.rule = GammaRule(gamma=gamma) if isinstance(layer, nn.Conv2d) else EpsilonRule()
            layer.rule.STABILITY_FACTOR = TINY
    return LRP(model).attribute(x.clone().requires_grad_(), target=target).detach()


def zennit_lrp(model: nn.Module, x: Tensor, layers: list[Any], picks: Iterable[Tensor]) -> list[Tensor]:
    """The relevance for each of the read-outs, which are as large as the model's outputs."""
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite, NameMapComposite

    composite = NameMapComposite if isinstance(layers[0][0], list) else LayerMapComposite
    with Gradient(model=model, composite=composite(layers)) as attribute:
        return [attribute(x.clone(), lambda out, pick=pick: out.detach() * pick)[1] for pick in picks]


def zennit_rules(gamma: float) -> list[Any]:
    from zennit.rules import Epsilon, Gamma

    return [(nn.Conv2d, Gamma(gamma, TINY)), (nn.Linear, Epsilon(TINY))]


def tiled(x: Tensor) -> Tensor:
    return x.repeat_interleave(CLASSES, 0)


def lrp_contenders(given: Given, gammas: Sequence[float], *, batches: bool) -> dict[str, Work]:
    model, x, theirs = given.model, given.x, copy.deepcopy(given.model)
    rows = torch.eye(CLASSES).to(x)
    targets = torch.arange(CLASSES, device=x.device).repeat(len(x))

    def ours(gamma: float) -> Tensor:
        rule = lrp.gamma(gamma)
        return lrp.lrp(model, x, rules=lrp.composite(model, first=rule, inner=rule, last=lrp.zero()))

    ways: dict[str, Callable[[float], Tensor]] = {
        OURS: ours,
        "captum, a loop over the outputs": lambda g: torch.stack(
            [captum_lrp(theirs, x, g, k) for k in range(CLASSES)], 1
        ),
        "zennit, a loop over the outputs": lambda g: torch.stack(zennit_lrp(theirs, x, zennit_rules(g), rows), 1),
    }
    if batches:
        ways["captum, one batch of all outputs"] = lambda g: captum_lrp(theirs, tiled(x), g, targets).unflatten(
            0, (-1, CLASSES)
        )
        ways["zennit, one batch of all outputs"] = lambda g: zennit_lrp(
            theirs, tiled(x), zennit_rules(g), [rows.repeat(len(x), 1)]
        )[0].unflatten(0, (-1, CLASSES))
    return {name: lambda way=way: torch.stack([way(gamma) for gamma in gammas]) for name, way in ways.items()}


def measure_lrp(given: Given) -> list[Line]:
    print(f"lrp: gamma {GAMMA}, {len(given.x)} images, {CLASSES} outputs")
    agree(lrp_contenders(given.few(), [GAMMA], batches=True), 1e-9)
    contenders = lrp_contenders(given, [GAMMA], batches=True)
    demands = {name: 6.0 if "loop" in name else 2.5 for name in contenders if name != OURS}
    return race("lrp", given, contenders, demands)


def measure_grid(given: Given) -> list[Line]:
    print(f"grid: gamma {', '.join(f'{g:g}' for g in GRID)}, {len(given.x)} images, {CLASSES} outputs")
    agree(lrp_contenders(given.few(), GRID, batches=False), 1e-9)
    contenders = lrp_contenders(given, GRID, batches=False)
    return race("grid", given, contenders, {name: 6.0 for name in contenders if name != OURS})


# ---- stability and sensitivity of a thousand outputs


def squeezenet() -> tuple[nn.Module, str]:
    try:
        return pretrained.published("squeezenet1_0"), "trained"
    except cache.DataError:
        torch.manual_seed(0)
        return torchvision().models.squeezenet1_0(weights=None).eval(), "random weights"


def photograph() -> Tensor:
    try:
        x = photographs.load(1).x
    except cache.DataError:
        x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return pretrained.normalised(x)


def zennit_squeezenet(net: nn.Module, rules: Sequence[lrp.Rule], x: Tensor) -> list[Any]:
    from zennit.rules import Epsilon, Gamma, Norm, ZBox

    def theirs(rule: lrp.Rule) -> Any:
        if isinstance(rule, lrp.box):
            low, high = (x.new_tensor(bound).view(1, -1, 1, 1) for bound in (rule.low, rule.high))
            return ZBox(low, high, TINY)
        return Gamma(rule.amount, TINY) if isinstance(rule, lrp.gamma) else Epsilon(TINY)

    layers = [([name], theirs(rule)) for name, rule in zip(lrp.weighted(net), rules, strict=True)]
    pools = [name for name, layer in net.named_modules() if isinstance(layer, nn.AdaptiveAvgPool2d)]
    return [*layers, (pools, Norm(TINY))]


def measure_ssm(given: Given) -> list[Line]:
    device = given.x.device
    net, weights = squeezenet()
    net, x = net.requires_grad_(False).to(device), photograph().to(device)
    rules = pretrained.composite("squeezenet1_0", net, 0.1)
    forward, ones = lrp.rewritten(net, rules=rules), torch.ones_like(x)
    out = net(x)
    eye = torch.eye(out.shape[1]).to(x)
    chosen = out[0].topk(SAMPLED).indices
    print(f"ssm: SqueezeNet ({weights}), one photograph, {len(eye)} outputs")

    def estimated() -> tuple[golub_kahan.Estimate, golub_kahan.Estimate]:
        draw = torch.Generator().manual_seed(0)
        R = quality.redistribution_operator(lambda factor: forward(x, factor), ones, threshold=SHARE)
        sigma = golub_kahan.spectral_norm(R, tolerance=TOLERANCE, generator=draw)
        return sigma, hutchinson.frobenius_norm(R, draws=DRAWS, generator=draw)

    def explicit() -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            _, back = vjp(lambda factor: forward(x, factor), ones)  # type: ignore[misc]
            relevance = torch.stack([back(row.unsqueeze(0))[0] for row in eye], 1)
            R = quality.redistribution(relevance, threshold=SHARE).R
            # row by row: torch's norm of 1e8 single numbers in one go is almost 1% too small
            norm = torch.linalg.vector_norm(torch.linalg.vector_norm(R, dim=2), dim=1)
            return relevance, spectra.sigma(R)[:, 0], norm

    def looped() -> Tensor:
        return torch.stack(zennit_lrp(net, x, zennit_squeezenet(net, rules, x), eye[chosen]), 1)

    done: dict[str, Any] = {}
    whole = seconds(lambda: done.update(explicit=explicit()))
    part = seconds(lambda: done.update(zennit=looped()))
    relevance, sigma, norm = done["explicit"]
    found = estimated()
    error = 0.0
    for name, one, other in (
        ("sigma_1", found[0].value, sigma),
        ("Frobenius norm", found[1].value, norm),
        ("SSM", found[1].value / found[0].value, norm / sigma),
    ):
        error = abs(float(one / other) - 1)
        print(f"    {name:14s} {float(one):.4f} estimated, {float(other):.4f} explicit: {error:.2%} off")
    said = [float(each.error / each.value) for each in found]
    print(f"    the estimates' own errors: sigma_1 {said[0]:.2%}, norm {said[1]:.2%}")
    assert error < 0.01, f"the SSM is {error:.2%} off"
    agree({"explicit": lambda: relevance[:, chosen], "zennit": lambda: done["zennit"]}, 1e-3)
    print("    captum has no rule z^B, which the first layer needs: zennit stands in for the loop over the outputs")
    best = best_of(given.repeats, {OURS: clock(estimated)})
    written_out = "the explicit matrix, a loop of vjp, once"
    best[written_out] = whole
    best[f"zennit, R alone, from {SAMPLED} of the outputs"] = part * len(eye) / SAMPLED
    return table("ssm", best, {written_out: 10.0})


# ---- pixel flipping


def measure_flipping(given: Given) -> list[Line]:
    model, x = given.model, given.x
    pixels = x[0].numel()
    step, fraction = 16, 0.05
    orders = torch.stack(
        [
            torch.stack([torch.randperm(pixels, generator=draw) for _ in range(len(x))])
            for draw in map(torch.Generator().manual_seed, range(ORDERS))
        ]
    ).to(x.device)
    target = model(x).argmax(1)
    print(f"flipping: {ORDERS} random orders of {len(x)} images, one pixel a step up to {fraction:.0%}")
    alone = race(
        "flipping", given, {OURS: lambda: pixel_flipping.curves(model, x, orders, target, fraction=fraction)}, {}
    )
    try:
        import quantus
    except ImportError:
        print(f"    Quantus is not installed: pip install --target FOLDER --no-deps {QUANTUS}; PYTHONPATH=FOLDER")
        return alone
    score = torch.empty(orders.shape).scatter_(2, orders.cpu(), torch.arange(pixels, 0, -1.0).expand(orders.shape))
    arrays = x.cpu().numpy(), target.cpu().numpy(), score.view(ORDERS, *x.shape).numpy()

    def theirs(step: int) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where black pixels are replaced by black
            metric = quantus.PixelFlipping(
                features_in_step=step, perturb_baseline="black", normalise=False, disable_warnings=True
            )
            curves = [
                metric(model, arrays[0], arrays[1], each, softmax=False, device=x.device.type, batch_size=len(x))
                for each in arrays[2]
            ]
        return torch.tensor(curves).to(x)

    print(f"    Quantus flips all pixels: with {pixels // step} steps of {step} pixels for both")
    contenders: dict[str, Work] = {
        OURS: lambda: pixel_flipping.curves(model, x, orders, target, fraction=1.0, steps=pixels // step)[..., 1:],
        "Quantus": lambda: theirs(step),
    }
    agree(contenders, 1e-5)
    equal = race("flipping, equal steps", given, contenders, {"Quantus": 10.0})
    print(f"    what a user of Quantus waits for to see the first {fraction:.0%}, one pixel a step, once")
    done: dict[str, Tensor] = {}
    whole = seconds(lambda: done.update(all=theirs(1)))
    first = pixel_flipping.curves(model, x, orders, target, fraction=fraction)[..., 1:]
    agree({OURS: lambda: first, "Quantus": lambda: done["all"][..., : first.shape[2]]}, 1e-5)
    name = "Quantus, which goes on to the last pixel"
    return [*alone, *equal, *table("flipping, one pixel a step", {OURS: alone[0].seconds, name: whole}, {})]


# ---- integrated gradients


def integrated_contenders(given: Given, batch: int | None) -> dict[str, Work]:
    from captum.attr import IntegratedGradients

    peer, x = IntegratedGradients(given.model), given.x

    def theirs() -> Tensor:
        options = {"n_steps": STEPS, "method": "riemann_right", "internal_batch_size": batch}
        return torch.stack([peer.attribute(x, target=k, **options) for k in range(CLASSES)], 1).detach()

    ours = lambda: gradients.integrated_gradients(given.model, x, steps=STEPS)  # noqa: E731
    return {OURS: ours, "captum, a loop over the outputs": theirs}


def measure_integrated(given: Given) -> list[Line]:
    print(f"integrated: {STEPS} steps, {len(given.x)} images, {CLASSES} outputs")
    agree(integrated_contenders(given.few(), None), 1e-6)
    *_, name = integrated_contenders(given, None)
    batch = fastest(lambda size: integrated_contenders(given, size)[name], (None, 100, 200, 500))
    print(f"    captum's fastest internal batch: {batch or 'everything'}")
    return race("integrated", given, integrated_contenders(given, batch), {name: 2.5})


# ---- Shapley values


def captum_shapley(given: Given, groups: Tensor, target: int | None, *, batch: int, permutations: int) -> Tensor:
    from captum.attr import ShapleyValueSampling

    def orders(players: int, count: int) -> list[list[int]]:
        draw = torch.Generator().manual_seed(0)
        return [torch.randperm(players, generator=draw).tolist() for _ in range(count)]

    peer = ShapleyValueSampling(given.model)
    peer.permutation_generator = orders  # the orders that ours draws
    options = {"feature_mask": groups, "n_samples": permutations, "perturbations_per_eval": batch}
    found = peer.attribute(given.x, target=target, **options)
    return found / groups.flatten().bincount()[groups]  # captum gives each input of a group what the group earned


def shapley_contenders(given: Given, groups: Tensor, batch: int) -> dict[str, Work]:
    options = {"batch": batch, "permutations": PERMUTATIONS}
    return {
        OURS: lambda: shapley.sampled(
            given.model,
            given.x,
            permutations=PERMUTATIONS,
            generator=torch.Generator().manual_seed(0),
            groups=groups,
        ),
        "captum, a loop over the outputs": lambda: torch.stack(
            [captum_shapley(given, groups, k, **options) for k in range(CLASSES)], 1
        ),
        "captum, all outputs without a target": lambda: captum_shapley(given, groups, None, **options),
    }


def measure_shapley(given: Given) -> list[Line]:
    print(f"shapley: {PERMUTATIONS} orders (the time is proportional to their number), {CLASSES} outputs")
    lines = []
    for size, count in ((PATCH, len(given.x)), (1, max(1, len(given.x) // 10))):
        some = given._replace(x=given.x[:count])
        groups = shapley.patches(some.x.shape[1:], size).to(some.x.device)
        batch = fastest(
            lambda each: lambda: captum_shapley(some, groups, 0, batch=each, permutations=1),  # noqa: B023
            (1, 5, 25, 49),
        )
        print(f"    {int(groups.max()) + 1} players, {count} images; captum's fastest: {batch} perturbations at a time")
        contenders = shapley_contenders(some, groups, batch)
        found = agree(contenders, 1e-4)
        with torch.no_grad():
            earned = some.model(some.x) - some.model(torch.zeros_like(some.x))
        missed = max(difference(earned, each.flatten(2).sum(2)) for each in found)
        print(f"    the values add up to f(x) - f(baseline): {missed:.0e} off")
        assert missed < 1e-4
        part = f"shapley, {int(groups.max()) + 1} players"
        lines += race(part, some, contenders, {"captum, a loop over the outputs": 10.0})
    return lines


# ---- all of it

PARTS: dict[str, Callable[[Given], list[Line]]] = {
    "lrp": measure_lrp,
    "grid": measure_grid,
    "ssm": measure_ssm,
    "flipping": measure_flipping,
    "integrated": measure_integrated,
    "shapley": measure_shapley,
}


def digits(count: int) -> Tensor:
    try:
        return images.load("mnist")[1].x[:count]
    except cache.DataError:
        return nn.functional.pad(images.load("digits")[1].x[:count], [10] * 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_options(parser, parts=PARTS, repeats=3)
    asked = parser.parse_args()
    torchvision()  # before zennit imports it
    device = resolve(asked.device)
    torch.manual_seed(0)
    model = convnets.cnn((1, 28, 28), CLASSES, bias=False).requires_grad_(False).eval().to(device)
    given = Given(model, digits(asked.images).to(device), asked.repeats)
    about = surroundings(device, ("torch", "captum", "zennit", "quantus"))
    write(asked.json, about, [line for part in asked.part for line in PARTS[part](given)])


if __name__ == "__main__":
    main()
