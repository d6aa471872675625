"""The reader's own spectra: every form of a file gives the same data set, and a mistake is one line."""

import gzip
import itertools
import os

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table

from spectral_lens._runtime.errors import InputError
from spectral_lens.datasets import stars
from spectral_lens.datasets.spectra import UNITS, read_spectra

N, D = 23, 7
WAVE = np.array([4000.0, 4000.9, 4001.7, 4003.0, 4005.5, 4007.25, 4010.0])  # Angstrom
EVEN = 4000 + 1.25 * np.arange(D)


def fluxes(seed=0):
    return np.random.default_rng(seed).uniform(0.5, 3.0, (N, D)).round(4)


def ages():
    return (np.random.default_rng(1).uniform(-2, 2, N)).round(3)


def text(mark=",", point=".", unit="", scale=1.0, target="age", extra=(), wave=WAVE, flux=None, y=None):
    flux, y = fluxes() if flux is None else flux, ages() if y is None else y
    heading = [*extra, *(f"{w / scale:.10g}{unit}" for w in wave), target]
    rows = [
        [*("HD 1" for _ in extra), *(repr(float(v)) for v in row), repr(float(t))]
        for row, t in zip(flux, y, strict=True)
    ]
    lines = [[cell.replace(".", point) for cell in row] for row in (heading, *rows)]
    return "\n".join(mark.join(row) for row in lines) + "\n"


def expected(wave=WAVE):
    flux = fluxes()
    return (flux / flux.max(1, keepdims=True)).astype(np.float32), ages().astype(np.float32), wave


def same(data, wave=WAVE):
    x, y, wave = expected(wave)
    np.testing.assert_array_equal(data.x.numpy(), x)
    np.testing.assert_array_equal(data.y.numpy(), y)
    np.testing.assert_allclose(stars.wavelengths(data), wave, rtol=0, atol=5e-5)
    assert (data.quantity, data.name, data.x.dtype) == ("age", "mine", torch.float32)


@pytest.fixture
def put(tmp_path):
    def put(content, name="mine.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return put


@pytest.mark.parametrize(
    ("mark", "point", "encoding"),
    [(",", ".", "utf-8"), (";", ",", "utf-8-sig"), (";", ".", "latin-1"), ("\t", ",", "utf-16")],
)
def test_a_table_of_text(put, mark, point, encoding):
    same(read_spectra(put(text(mark, point).encode(encoding))))


@pytest.mark.parametrize(("unit", "scale"), [*UNITS.items()])
def test_units(put, unit, scale):
    same(read_spectra(put(text(scale=scale)), unit=unit))
    same(read_spectra(put(text(scale=scale, unit=f" {unit}"))))
    same(read_spectra(put(text(scale=scale, unit=f" {unit}")), unit=unit))


@pytest.mark.parametrize(
    ("spelled", "scale"),
    [("Å", 1), ("AA", 1), ("Angstrom", 1), ("nm", 10), ("NM", 10), ("µm", 1e4), ("μm", 1e4), ("micron", 1e4)],
)
def test_spellings_of_units(put, spelled, scale):
    same(read_spectra(put(text(scale=scale)), unit=spelled))
    same(read_spectra(put(text(scale=scale, unit=spelled).encode("utf-8"))))


def test_the_target_is_the_last_column_or_the_named_one(put):
    same(read_spectra(put(text())))
    table = text(extra=("star", "z")).replace("HD 1,HD 1", "HD 1,7.5")
    same(read_spectra(put(table)))
    same(read_spectra(put(table), target="age"))
    with pytest.raises(InputError, match=r"z is 7\.5 everywhere"):
        read_spectra(put(table), target="z")


def test_wavelengths_that_fall_are_turned_round(put):
    same(read_spectra(put(text(wave=WAVE[::-1], flux=fluxes()[:, ::-1]))))


def test_a_path_is_named_from_where_the_command_was_called(put, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    put(text())
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("SPECTRAL_LENS_CALLED_FROM", str(tmp_path))
    same(read_spectra("mine.csv"))
    with pytest.raises(FileNotFoundError):
        read_spectra("yours.csv")


def fits_files():
    """The same spectra in each form of FITS, most significant byte first as the standard wants it."""
    flux, y = fluxes(), ages()
    columns = {f"{w:.10g}": flux[:, k] for k, w in enumerate(WAVE)} | {"age": y}
    scalar = fits.BinTableHDU(Table(columns))
    beside = Table({"name": ["HD 1"] * N, "wavelength": np.tile(WAVE / 10, (N, 1)), "flux": flux, "age": y})
    beside["wavelength"].unit = "nm"
    own = fits.BinTableHDU(Table({"lambda": WAVE}))
    image = fits.PrimaryHDU(flux)
    image.header.update({"CRVAL1": EVEN[2], "CDELT1": 1.25, "CRPIX1": 3.0, "CUNIT1": "Angstrom"})
    other = fits.PrimaryHDU(flux.astype(">f4"))
    other.header.update({"CRVAL1": EVEN[0] / 10, "CD1_1": 0.125, "CUNIT1": "nm"})
    target = fits.BinTableHDU(Table({"age": y}))
    empty = fits.PrimaryHDU()
    return {
        "columns": [empty, scalar],
        "rows": [empty, fits.BinTableHDU(beside)],
        "wavelengths in a table of their own": [empty, fits.BinTableHDU(Table({"flux": flux, "age": y})), own],
        "image": [image, target],
        "image of single precision": [other, target],
    }


def written(parts):
    import io

    file = io.BytesIO()
    fits.HDUList(parts).writeto(file)
    return file.getvalue()


@pytest.mark.parametrize(("form", "packed"), [*itertools.product(fits_files(), (False, True))])
def test_fits(put, form, packed):
    content = written(fits_files()[form])
    data = read_spectra(put(gzip.compress(content) if packed else content, "mine.fits"))
    if "single" in form:
        flux = fluxes().astype(np.float32).astype(np.float64)
        np.testing.assert_array_equal(data.x, (flux / flux.max(1, keepdims=True)).astype(np.float32))
        np.testing.assert_allclose(stars.wavelengths(data), EVEN, rtol=0, atol=5e-5)
    else:
        same(data, EVEN if form == "image" else WAVE)


def table(**changes):
    flux, y, wave = fluxes(), ages(), WAVE.copy()
    given = {"wave": wave, "flux": flux, "y": y} | changes
    return text(**given)


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (table().replace("\n", "\nHD 1", 1), {}, "row 2, column '4000' holds 'HD 1"),
        (table(flux=changed(fluxes(), (4, 2), np.nan)), {}, "row 6, column '4001.7' holds 'nan'"),
        (table(y=changed(ages(), 3, np.inf)), {}, "row 5, column 'age' holds 'inf'"),
        (table(flux=fluxes()[:1], y=ages()[:1]), {}, "has 1 spectra: .* fewer than 20"),
        (table(flux=fluxes()[:0], y=ages()[:0]), {}, "has 0 spectra"),
        (table(wave=changed(WAVE, 3, 4001.0)), {}, r"wavelengths 4001\.7 and 4001 Angstrom are out of order"),
        (table(wave=changed(WAVE, 3, WAVE[2])), {}, "out of order"),
        (table(wave=changed(WAVE, 3, WAVE[2] + 0.05)), {}, "closer than 0.1 Angstrom: average neighbours"),
        (table(wave=WAVE - 4001), {}, "finite and positive"),
        (table(flux=changed(fluxes(), 5, -1.0)), {}, "spectrum 6 is nowhere positive"),
        (table(y=np.full(N, 2.0)), {}, "age is 2 everywhere"),
        (table(), {"target": "mass"}, "no column 'mass' for a target: there is age"),
        (table(), {"unit": "furlong"}, "unit 'furlong' of wavelength is not known: use angstrom, nm, um"),
        (table(unit=" nm"), {"unit": "um"}, "wavelengths are in nm, not in um"),
        (table().replace("4000.9,", "4000.9 nm,", 1).replace("4000,", "4000 um,", 1), {}, "has the units"),
        (table(target="4020"), {}, "no column for a target"),
        ("a,b,age\n1,2,3\n", {}, "begins with a, b, age: it needs two wavelengths"),
        ("", {}, "is an empty table"),
        (b"\0\1\2,", {}, "is no text"),
        (b"SIMPLE  =                    T and no more", {}, "damaged FITS file"),
    ],
)
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
def test_mistakes_are_one_line(put, content, options, message):
    with pytest.raises(InputError, match=message) as caught:
        read_spectra(put(content), **options)
    assert str(caught.value).startswith("mine.csv")
    assert len(str(caught.value).splitlines()) == 1


def mistaken(form, change):
    parts = fits_files()[form]
    change(parts)
    return written(parts)


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        ("image", lambda parts: parts[0].header.remove("CRVAL1"), "gives no even wavelengths"),
        ("image", lambda parts: parts[0].header.set("CTYPE1", "AWAV-LOG"), "no logarithm"),
        ("image", lambda parts: parts.pop(), "no column for a target"),
        ("image", lambda parts: parts[0].header.set("CUNIT1", "keV"), "unit 'keV'"),
        ("image", lambda parts: parts.append(fits.BinTableHDU(Table({"age": ages()[:9]}))), r"age \(9,\) do not fit"),
        ("rows", lambda parts: parts[1].data["wavelength"].__setitem__((3, 2), 9.0), "have different wavelengths"),
        ("rows", lambda parts: parts[1].data["flux"].__setitem__((3, 2), np.nan), "flux of spectrum 4 holds NaN"),
        (
            "rows",
            lambda parts: parts[1].columns.change_name("wavelength", "sigma"),
            "needs one column of fluxes and one",
        ),
    ],
)
def test_mistakes_in_fits_are_one_line(put, form, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read_spectra(put(mistaken(form, change), "mine.fits"))
    assert str(caught.value).startswith("mine.fits")
    assert len(str(caught.value).splitlines()) == 1


def test_what_cannot_be_read(tmp_path):
    for name in ("nowhere.csv", "."):
        with pytest.raises(OSError, match=os.strerror(2 if name != "." else 21)):
            read_spectra(tmp_path / name)
