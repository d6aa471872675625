"""Spectra of stars and their metallicity: the MILES library, and generated ones of which the truth is known."""

import csv
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.resources import resource
from spectral_lens.datasets import DataSet, cache, fingerprint

__all__ = ["Band", "bands", "bands_within", "generated", "inside", "load", "wavelengths"]

_QUANTITY = "[Fe/H], dex"
_UNIT = "flux over the largest of the spectrum"
_CUT = 970  # its spectrum ends early: the rest is constant

# air wavelength in Angstrom (NIST), optical depth at the Sun's metallicity
_METALS = (
    (3933.66, 2.5), (3968.47, 2.0), (4383.55, 0.7), (4404.75, 0.4), (4528.61, 0.4), (4668.13, 0.3), (4957.60, 0.5),
    (5006.12, 0.4), (5167.32, 0.6), (5172.68, 0.8), (5183.60, 0.9), (5269.54, 0.6), (5328.04, 0.5), (5371.49, 0.3),
)  # fmt: skip
_HYDROGEN = (4101.73, 4340.47, 4861.33)


class Band(NamedTuple):
    """A spectral index: the wavelengths of one absorption feature, in Angstrom, in air."""

    name: str
    low: float
    high: float
    group: str  # "Lick/IDS", "Ca H+K" or "other"
    source: str


def bands() -> tuple[Band, ...]:
    """The bands of data/bands.csv by wavelength: 25 Lick/IDS indices, Ca H+K, and H alpha.

    >>> len(bands()), bands()[0].name
    (27, 'CaHK')
    """
    with open(resource("data/bands.csv"), encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return tuple(Band(r["name"], float(r["low"]), float(r["high"]), r["set"], r["source"]) for r in rows)


def bands_within(wave: Float[Tensor, " d"]) -> dict[str, tuple[float, float]]:
    """The known bands that reach into these wavelengths: lowest and highest by name.

    >>> bands_within(torch.tensor([5150.0, 5190.0]))["Mgb"]
    (5160.125, 5192.625)
    """
    low, high = float(wave.amin()), float(wave.amax())
    return {band.name: (band.low, band.high) for band in bands() if band.high > low and band.low < high}


def wavelengths(data: DataSet) -> Float[Tensor, " d"]:
    """The wavelength of each input, in Angstrom.

    Raises ValueError where the inputs are not named by bare numbers.

    >>> wavelengths(generated(5, pixels=4, low=4000.0, high=4300.0))
    tensor([4000., 4100., 4200., 4300.], dtype=torch.float64)
    """
    try:
        return torch.tensor([float(name) for name in data.inputs], dtype=torch.float64)
    except ValueError:
        raise ValueError(
            f"{data.name}: inputs must be named by their wavelength in Angstrom, as '5183.6', not {data.inputs[0]!r}: "
            "read_spectra takes other units."
        ) from None


def inside(wave: Float[Tensor, " d"], among: tuple[Band, ...]) -> Tensor:
    """Whether each wavelength lies in one of the bands: boolean, (d,).

    >>> inside(torch.tensor([3000.0, 3960.0]), bands())
    tensor([False,  True])
    """
    edges = wave.new_tensor([[band.low, band.high] for band in among]).reshape(-1, 2)
    return ((wave.unsqueeze(1) >= edges[:, 0]) & (wave.unsqueeze(1) <= edges[:, 1])).any(1)


def load(*, pixels: int = 4287) -> DataSet:
    """The stars of the MILES library that have a metallicity, each spectrum over its own maximum.  [chicchi, 2.4]

    x is float32, (945, pixels), y is [Fe/H]; star 970 is left out.  pixels: the first ones of the 4300; the paper has
    4287 and does not say which.  Raises ValueError for more pixels than there are, and what `cache.load` raises.
    """
    stored, entry = cache.load("miles"), cache.manifest()["miles"]
    flux, feh = stored.arrays["flux"], stored.arrays["feh"]
    if not 1 <= pixels <= flux.shape[1]:
        raise ValueError(f"pixels={pixels} must lie between 1 and {flux.shape[1]}.")
    kept = np.isfinite(feh) & (stored.arrays["miles_id"] != _CUT)
    x = torch.from_numpy(flux[kept, :pixels])
    return DataSet(
        name="miles",
        x=x / x.amax(1, keepdim=True),
        y=torch.from_numpy(feh[kept]).float(),
        inputs=tuple(f"{each:.1f}" for each in stored.arrays["wavelength"][:pixels]),
        unit=_UNIT,
        edition=stored.edition,
        sha256=fingerprint(flux, feh),
        provenance=f"{entry['title']}, stars with a metallicity; {entry['source']}; licence: {entry['licence']}",
        quantity=_QUANTITY,
    )


def generated(
    samples: int = 600,
    *,
    seed: int = 0,
    pixels: int = 500,
    low: float = 3900.0,
    high: float = 5400.0,
    noise: float = 0.01,
) -> DataSet:
    """Spectra made of a black body and absorption lines, whose truth is known.

        flux(w) = B_w(T) prod_l (1 - depth_l g_l(w)) (1 + noise e),   depth_l = 1 - exp(-t_l 10^([Fe/H] / 2))

    for the lines of metals, with optical depths t_l.  Those of hydrogen are as deep as the temperature makes them and
    say nothing of the metals.  g_l is a Gaussian of the resolution of MILES (FWHM 2.5 Angstrom) or of two pixels, if
    that is more.  T is even between 4500 and 6500 K, [Fe/H] between -2 and 0.5, e is normal.

    truth["metals"] is by which part the flux changes for one dex at the mean [Fe/H], (d,): zero below a thousandth.
    Raises ValueError for sizes that do not fit.

    >>> data = generated(5, pixels=30)
    >>> data.x.shape, data.quantity
    (torch.Size([5, 30]), '[Fe/H], dex')
    """
    if samples < 1 or pixels < 2 or not 0 < low < high or noise < 0:
        raise ValueError(f"samples={samples}, pixels={pixels}, low={low}, high={high}, noise={noise} do not fit.")
    draw: dict[str, Any] = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
    wave = torch.linspace(low, high, pixels, dtype=torch.float64)
    temperature = 4500 + 2000 * torch.rand(samples, 1, **draw)
    feh = 2.5 * torch.rand(samples, 1, **draw) - 2
    flux = _black_body(wave, temperature)
    width = max(2.5, 2 * (high - low) / (pixels - 1)) / 2.3548

    def profile(line: float) -> Tensor:
        return torch.exp(-((wave - line) ** 2) / (2 * width**2))

    def through_metals(metallicity: Tensor) -> Tensor:
        left = torch.ones(())
        for line, depth in _METALS:
            left = left * (1 - (1 - torch.exp(-depth * 10 ** (metallicity / 2))) * profile(line))
        return left

    flux = flux * through_metals(feh)
    for line in _HYDROGEN:
        flux = flux * (1 - (0.1 + 0.4 * (temperature - 4500) / 2000) * profile(line))
    flux = flux * (1 + noise * torch.randn(samples, pixels, **draw))
    x, y = (flux / flux.amax(1, keepdim=True)).float(), feh[:, 0].float()
    middle = torch.full((pixels,), -0.75, dtype=torch.float64, requires_grad=True)  # one for each pixel
    change = torch.autograd.grad(through_metals(middle).sum(), middle)[0].abs()
    return DataSet(
        name="generated stars",
        x=x,
        y=y,
        inputs=tuple(f"{each:.1f}" for each in wave.tolist()),
        unit=_UNIT,
        edition="generated",
        sha256=fingerprint(x, y),
        provenance=f"Generated: black bodies with lines of metals and of hydrogen, noise {noise:g}; seed {seed}",
        truth={"metals": torch.where(change > 1e-3, change, 0).float()},
        quantity=_QUANTITY,
    )


def _black_body(wave: Float[Tensor, " d"], temperature: Float[Tensor, "n 1"]) -> Float[Tensor, "n d"]:
    """Planck's law over the wavelength in Angstrom, up to a factor: w^-5 / (exp(h c / (w k T)) - 1)."""
    with optional("data"):
        from astropy import constants, units

    scale = (constants.h * constants.c / constants.k_B).to_value(units.AA * units.K)
    return wave**-5 / torch.expm1(scale / (wave * temperature))
