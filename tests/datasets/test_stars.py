"""Stars: the library's form and source, generated spectra against their definition, the bands against the published."""

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units
from astropy.io import fits
from astropy.modeling.models import BlackBody
from scipy.optimize import brentq

from oracles import even
from spectral_lens.datasets import DataSet, cache, sources, stars

REAL = Path(os.environ.get("SPECTRAL_LENS_DATA", ""))


def test_the_lick_bands_are_the_published_ones():
    lick = [band for band in stars.bands() if band.group == "Lick/IDS"]
    text = "\n".join(sorted(f"{band.name} {band.low} {band.high}" for band in lick))
    assert len(lick) == 25  # Trager et al. 1998 and Worthey and Ottaviani 1997, from two machine-readable lists
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "29de7fd17c18c032172720a186654ab65a3ea700fca067191ad337776b8b7333"
    )


def test_bands_stand_by_wavelength_each_with_its_source():
    found = stars.bands()
    assert [band.low for band in found] == sorted(band.low for band in found)
    assert all(band.low < band.high and band.source for band in found)
    assert [band.name for band in found if band.group != "Lick/IDS"] == ["CaHK", "Ha"]


def test_inside_the_bands():
    among = (stars.Band("a", 10, 12.5, "", ""), stars.Band("b", 12, 13, "", ""))
    wave = torch.tensor([9.9, 10, 11, 12.7, 13, 13.1])
    assert stars.inside(wave, among).tolist() == [False, True, True, True, True, False]
    assert not stars.inside(wave, ()).any()


# ---- generated


def test_without_lines_it_is_a_black_body():
    data = stars.generated(7, low=5700.0, high=6400.0, pixels=31, noise=0.0)  # no line of ours there
    wave = stars.wavelengths(data)
    assert data.truth["metals"].sum() == 0
    temperatures = torch.linspace(4000, 7000, 30001)
    for spectrum in data.x.double():
        ratio = spectrum[0] / spectrum[-1]
        flux = [
            BlackBody(temperature=temperatures.numpy() * units.K, scale=1 * units.Unit("erg/(s cm2 sr AA)"))(
                float(end) * units.AA
            ).value
            for end in (wave[0], wave[-1])
        ]
        k = np.abs(flux[0] / flux[1] - float(ratio)).argmin()
        body = BlackBody(temperature=temperatures[k].item() * units.K, scale=1 * units.Unit("erg/(s cm2 sr AA)"))
        expected = body(wave.numpy() * units.AA).value
        np.testing.assert_allclose(spectrum.numpy(), expected / expected.max(), rtol=2e-5)


LINES = {  # Ca K and H, Mg b 5167 to 5184, the others Fe I; with their optical depths in the Sun
    3933.66: 2.5, 3968.47: 2.0, 5167.32: 0.6, 5172.68: 0.8, 5183.60: 0.9, 4383.55: 0.7, 4404.75: 0.4, 4528.61: 0.4,
    4668.13: 0.3, 4957.60: 0.5, 5006.12: 0.4, 5269.54: 0.6, 5328.04: 0.5, 5371.49: 0.3,
}  # fmt: skip
BALMER = (4101.73, 4340.47, 4861.33)  # delta, gamma, beta


def planck(wave, temperature):
    return wave**-5.0 / np.expm1(1.438776877e8 / (wave * temperature))  # h c / k in Angstrom and K


def temperature(wave, flux):
    """Of a black body, from two of its wavelengths."""
    return brentq(lambda t: planck(wave[0], t) / planck(wave[1], t) - flux[0] / flux[1], 3000, 9000, xtol=1e-9)


def metals(wave, feh, fwhm):
    left = np.ones_like(wave)
    for line, depth in LINES.items():
        left *= 1 - (1 - np.exp(-depth * 10 ** (feh / 2))) * 0.5 ** ((2 * (wave - line) / fwhm) ** 2)
    return left


@pytest.mark.parametrize(("pixels", "fwhm"), [(1501, 2.5), (301, 10.0)])  # two pixels of 5 Angstrom are more
def test_a_spectrum_is_its_definition(pixels, fwhm):
    data = stars.generated(9, seed=3, pixels=pixels, noise=0.0)
    wave = np.linspace(3900, 5400, pixels)
    np.testing.assert_allclose(stars.wavelengths(data), wave)
    away = [int(np.abs(wave - each).argmin()) for each in (4200, 5050)]  # from all lines
    for flux, feh in zip(data.x.double().numpy(), data.y.double().numpy(), strict=True):
        t = temperature(wave[away], flux[away])
        expected = planck(wave, t) * metals(wave, feh, fwhm)
        for line in BALMER:
            depth = 0.1 + 0.4 * (t - 4500) / 2000
            expected *= 1 - depth * 0.5 ** ((2 * (wave - line) / fwhm) ** 2)
        np.testing.assert_allclose(flux, expected / expected.max(), rtol=2e-5)
    change = np.abs(metals(wave, -0.75 + 1e-5, fwhm) - metals(wave, -0.75 - 1e-5, fwhm)) / 2e-5
    np.testing.assert_allclose(data.truth["metals"], np.where(change > 1e-3, change, 0), rtol=1e-4, atol=1e-6)
    assert ((change > 0) & (change < 1e-3)).any()


def test_temperatures_and_metallicities_are_even_and_independent():
    data = stars.generated(1000, seed=4, low=5700.0, high=6400.0, pixels=29, noise=0.0)  # no line of ours there
    found = np.array([temperature(np.array([5700.0, 6400.0]), flux) for flux in data.x[:, [0, -1]].double().numpy()])
    assert even(found, 4500, 6500)
    assert even(data.y.double().numpy(), -2, 0.5)
    assert abs(np.corrcoef(found, data.y)[0, 1]) < 5 / 1000**0.5


@pytest.mark.parametrize("noise", [0.003, 0.04])
def test_noise_is_normal_and_a_part_of_the_flux(noise):
    noisy, clean = (stars.generated(80, seed=3, pixels=301, noise=each) for each in (noise, 0.0))
    assert torch.equal(noisy.y, clean.y)
    ratio = (noisy.x / clean.x).double()
    e = (ratio / ratio.mean(1, keepdim=True) - 1) / noise  # the noise at the brightest pixel scales the whole
    size = e.numel()
    assert abs(e.std() - 1) < 5 / (2 * size) ** 0.5 + 0.002  # a mean of 301 has lost a part in 600
    assert abs((e**3).mean()) < 5 * (15 / size) ** 0.5
    assert abs((e**4).mean() - 3) < 5 * (96 / size) ** 0.5 + 0.02
    assert abs((e[:, 1:] * e[:, :-1]).mean()) < 5 / size**0.5 + 0.004


def test_a_line_is_as_deep_as_its_metals_say():
    grid = {"low": 5160.0, "high": 5210.0, "pixels": 501, "noise": 0.0}
    data = stars.generated(50, **grid)
    wave = stars.wavelengths(data)
    at, beside = (wave - 5183.6).abs().argmin(), (wave - 5205).abs().argmin()
    depth = 1 - (data.x[:, at] / data.x[:, beside]).double()  # the black body changes by less than a percent between
    expected = 1 - torch.exp(-0.9 * 10 ** (data.y.double() / 2))
    torch.testing.assert_close(depth, expected, rtol=0, atol=0.01)


def test_the_truth_stands_at_the_metals_and_not_at_hydrogen():
    data = stars.generated()
    wave, metals = stars.wavelengths(data), data.truth["metals"] > 0
    for line in (3933.66, 4383.55, 5172.68, 5269.54):
        assert metals[(wave - line).abs().argmin()]
    for line in (4101.73, 4340.47, 4861.33, 4250.0, 5050.0):
        assert not metals[(wave - line).abs().argmin()]
    assert 0.05 < metals.float().mean() < 0.25


def test_what_follows_the_metals_is_found_there():
    data = stars.generated(2000, seed=3)
    together = torch.corrcoef(torch.cat([data.y[None], data.x.T]).double())[0, 1:].abs()
    strongest = together.topk(30).indices
    assert (data.truth["metals"][strongest] > 0).all()
    assert together[strongest].min() > 0.6


def test_generated_stars_are_a_data_set():
    data = stars.generated(11, pixels=23, seed=5)
    assert (data.samples, data.dim, data.quantity, data.edition) == (11, 23, "[Fe/H], dex", "generated")
    assert torch.equal(data.x.amax(1), torch.ones(11))
    assert -2 <= data.y.min() <= data.y.max() <= 0.5
    same, other = stars.generated(11, pixels=23, seed=5), stars.generated(11, pixels=23, seed=6)
    assert torch.equal(same.x, data.x)
    assert same.sha256 == data.sha256
    assert not torch.equal(other.y, data.y)


@pytest.mark.parametrize("change", [{"samples": 0}, {"pixels": 1}, {"low": 0.0}, {"low": 6000.0}, {"noise": -1.0}])
def test_sizes_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}="):
        stars.generated(**change)


# ---- the library


def library(n=5, pixels=9):
    """Arrays in the form of the library; one star without metallicity, one with the number of the cut one."""
    flux = np.random.default_rng(2).random((n, pixels), np.float32) + 0.5
    feh = np.array([0.1, -0.2, np.nan, 0.4, -0.5])
    return {
        "flux": flux, "wavelength": 3540.5 + 0.9 * np.arange(pixels), "feh": feh, "teff": 5000 + feh, "logg": 4 + feh,
        "miles_id": np.array([1, 2, 3, 4, 970], np.int16), "name": np.array(["a"] * n, "U20"),
        "spectral_type": np.array(["G2V"] * n, "U12"),
    }  # fmt: skip


def test_stars_with_a_metallicity_each_over_its_largest_flux(monkeypatch):
    given = library()
    monkeypatch.setattr(cache, "load", lambda name: cache.Stored(given, "complete, v9.1", "by number"))
    data = stars.load(pixels=7)
    assert isinstance(data, DataSet)
    expected = given["flux"][[0, 1, 3], :7]
    np.testing.assert_array_equal(data.x.numpy(), expected / expected.max(1, keepdims=True))
    assert data.y.tolist() == pytest.approx([0.1, -0.2, 0.4])
    assert stars.wavelengths(data).tolist() == pytest.approx([3540.5 + 0.9 * k for k in range(7)])
    for pixels in (0, 10):
        with pytest.raises(ValueError, match="between 1 and 9"):
            stars.load(pixels=pixels)


def line(number, name, kind, *values):
    """A line of the library's table: columns of fixed width."""
    teff, logg, feh = (f"{each:>5}" for each in values)
    return f"{name:22} {number:4} {'':8}{kind:15}{teff:>5}  {logg:>5}  {feh:>7}   333     I "


TABLE = [
    "Name                  MILES   CaT   SpT            Teff   log g   [Fe/H]  Refs   Libraries",
    "                      s????   ",
    " - - - - - - - - -",
    line("0002", "BD+002058A", "sd:F", "6024", "4.50", "-1.44"),
    line("0003", "M71 X      Cl", "HB", "--", "-", ""),
    line("0001", "HD135485", "B5 IIp", "15500", "4.00", "0.50"),
]


def test_the_table_is_read_by_its_columns():
    found = sources.parameters("\n".join(TABLE))
    assert found["miles_id"].tolist() == [1, 2, 3]
    assert found["name"].tolist() == ["HD135485", "BD+002058A", "M71 X      Cl"]
    assert found["spectral_type"].tolist() == ["B5 IIp", "sd:F", "HB"]
    assert found["teff"][:2].tolist() == [15500, 6024]
    assert found["feh"][:2].tolist() == [0.5, -1.44]
    assert all(np.isnan(found[key][2]) for key in ("teff", "logg", "feh"))


def archive(path, numbers=(1, 2, 3), grid=(3540.5, 0.9)):
    with tarfile.open(path, "w:gz") as tar:

        def add(name, content):
            member = tarfile.TarInfo(f"mangadap-996b/library/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for k in numbers:
            image, content = fits.PrimaryHDU(np.arange(4.0)[None] + k), io.BytesIO()
            image.header["CRVAL1"], image.header["CDELT1"] = grid[0] + 0 * k, grid[1] * (1 if k < 3 else grid[-1] / 0.9)
            image.writeto(content)
            add(f"{'omit/' if k == 3 else ''}MILES_res2.50_star_m{k:04}V.fits", content.getvalue())
        add("paramsMILES_v9.1.txt", "\n".join(TABLE).encode())
        add("README", b"not a star")


def test_spectra_are_read_in_the_order_of_their_numbers(tmp_path, monkeypatch):
    archive(tmp_path / "stars.tar.gz", numbers=(3, 1, 2))
    monkeypatch.setattr("pooch.retrieve", lambda *a, **k: tmp_path / "stars.tar.gz")
    found = sources.miles({"url": "http://nowhere", "folder": "library"}, tmp_path)
    assert found["flux"].dtype == np.float32
    assert found["flux"].tolist() == [[k, k + 1, k + 2, k + 3] for k in (1, 2, 3)]
    assert found["wavelength"].tolist() == [3540.5 + 0.9 * k for k in range(4)]
    assert found["miles_id"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("options", [{"numbers": (1, 3)}, {"numbers": ()}, {"grid": (3540.5, 0.8)}])
def test_another_archive_is_refused(tmp_path, monkeypatch, options):
    archive(tmp_path / "stars.tar.gz", **options)
    monkeypatch.setattr("pooch.retrieve", lambda *a, **k: tmp_path / "stars.tar.gz")
    with pytest.raises(ValueError, match="one spectrum for each star on one grid"):
        sources.miles({"url": "http://nowhere", "folder": "library"}, tmp_path)


@pytest.mark.data
def test_the_real_library():
    if not (REAL / "miles.npz").is_file():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with miles.npz")
    data = stars.load()
    assert (data.samples, data.dim, data.edition) == (945, 4287, "complete, v9.1")
    assert (data.y.amin().item(), data.y.amax().item()) == pytest.approx((-2.93, 1.65))
    # cool stars are red, and Ca H+K is dark in most stars
    wave = stars.wavelengths(data)
    assert data.x[:, (wave > 3930) & (wave < 3937)].mean() < 0.6 * data.x[:, (wave > 4005) & (wave < 4015)].mean()


def test_bands_within_overlap_the_wavelengths():
    wave = torch.linspace(4000, 4400, 401, dtype=torch.float64)
    found = stars.bands_within(wave)
    for band in stars.bands():
        reaches = ((band.low < wave) & (band.high > wave)).any()
        assert (band.name in found) == bool(reaches)
        assert not reaches or found[band.name] == (band.low, band.high)
    assert 3 < len(found) < len(stars.bands())


def test_inputs_that_are_no_wavelengths_are_named():
    data = replace(stars.generated(5, pixels=2), inputs=("400.0 nm", "500.0 nm"))
    with pytest.raises(ValueError, match=r"as '5183\.6', not '400\.0 nm'"):
        stars.wavelengths(data)
