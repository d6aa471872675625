"""The reader's own spectra: a table of text or a FITS file, a wavelength for each input and a quantity to be read."""

import gzip
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from spectral_lens._runtime.errors import InputError
from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.resources import named
from spectral_lens.datasets import DataSet, fingerprint, tables

__all__ = ["UNITS", "read_spectra"]

UNITS = {"angstrom": 1.0, "nm": 10.0, "um": 1e4}  # in Angstrom
_SPELLED = {
    "": "", "a": "angstrom", "aa": "angstrom", "å": "angstrom", "ångström": "angstrom", "angstrom": "angstrom",
    "angstroms": "angstrom", "nm": "nm", "nanometer": "nm", "nanometers": "nm", "nanometre": "nm", "um": "um",
    "µm": "um", "μm": "um", "micron": "um", "microns": "um", "micrometer": "um", "micrometre": "um",
}  # fmt: skip
_WAVELENGTH = re.compile(r"([-+]?[\d.,]+(?:[eE][-+]?\d+)?)\s*(\D*)")
_WAVE_COLUMNS = ("wavelength", "wave", "lambda", "wl")
_STEP = 0.1  # Angstrom, to which drawings and names of inputs keep them
_FEWEST = 20  # spectra that can be split, and whose linear models can be cross-validated


def read_spectra(path: str | Path, *, unit: str = "", target: str = "") -> DataSet:
    """Spectra and a quantity of each, from a file in one of three forms.

    A table of text: the heading has the wavelengths, with their unit or without, and the name of the target; each
    further row is a spectrum.  See `tables.rows` for what stands between the cells.
    A FITS table of the same columns, or with the target, a column of fluxes (d in each row) and one of wavelengths.
    A FITS image (n, d), its wavelengths given by CRVAL1, CDELT1 and CRPIX1, and a table with the target.

    path: relative to where the command was called.  unit: of the wavelengths, angstrom, nm or um, where the file does
    not say; Angstrom if neither does.  target: its column; by default the last one that is no wavelength.
    x is float32, (n, d), each spectrum over its own maximum; wavelengths rise, in Angstrom; y is the target.
    Raises ValueError, one line that names the file, for a file of another form, a unit that contradicts it, a cell that
    is no number, fewer than 20 spectra, wavelengths out of order or closer than 0.1 Angstrom, a spectrum that is
    nowhere positive, and a target that is the same everywhere; OSError where it cannot be read.

    >>> import tempfile
    >>> rows = "".join(f"0,5;{k};1;{k}\\n" for k in range(1, 21))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "mine.csv").write_text("400 nm;401 nm;402,5 nm;age\\n" + rows)
    ...     data = read_spectra(Path(folder) / "mine.csv")
    >>> data.inputs, data.quantity, data.samples
    (('4000', '4010', '4025'), 'age', 20)
    """
    place = named(path)
    content = place.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    reader = _from_fits if content.startswith(b"SIMPLE  =") else _from_text
    wave, written, flux, name, values = reader(content, target, place.name)
    wave = wave * UNITS[_unit(unit, written, place.name)]
    x, y = np.asarray(flux, np.float64), np.asarray(values, np.float64)  # FITS stores the most significant byte first
    if wave.shape != x.shape[1:] or y.shape != x.shape[:1]:
        raise InputError(f"{place.name}: fluxes {x.shape}, wavelengths {wave.shape} and {name} {y.shape} do not fit.")
    if wave[0] > wave[-1]:
        wave, x = wave[::-1], x[:, ::-1]
    _check(wave, x, y, name, place.name)
    scaled, quantity = (torch.from_numpy(each.astype(np.float32)) for each in (x / x.max(1, keepdims=True), y))
    return DataSet(
        name=place.stem,
        x=scaled,
        y=quantity,
        inputs=tuple(f"{each:.4f}".rstrip("0").rstrip(".") for each in wave),
        unit="flux over the largest of the spectrum",
        edition="the reader's own",
        sha256=fingerprint(scaled, quantity),
        provenance=f"Read from {place.name}",
        quantity=name,
    )


# wavelengths (d,), their unit in the file or "", fluxes (n, d), the target's name, and its values (n,)
_Found = tuple[Float64[np.ndarray, " d"], str, np.ndarray, str, np.ndarray]


def _from_text(content: bytes, said: str, name: str) -> _Found:
    heading, *below = tables.rows(content, name)
    places, wave, unit = _wavelengths(heading, name)
    target = _target(said, [each for k, each in enumerate(heading) if k not in places], name)
    kept = [*places, heading.index(target)]
    cells = tables.numbers([[row[k] for k in kept] for row in below], name, [heading[k] for k in kept])
    return wave, unit, cells[:, :-1], target, cells[:, -1]


def _from_fits(content: bytes, said: str, name: str) -> _Found:
    with optional("data"):
        from astropy.io import fits

    columns: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    image: Any = None
    try:
        with fits.open(io.BytesIO(content), memmap=False) as parts:
            for part in parts:
                if isinstance(part, fits.BinTableHDU | fits.TableHDU):
                    columns |= {column.name: np.asarray(part.data[column.name]) for column in part.columns}
                    units |= {column.name: str(column.unit or "") for column in part.columns}
                elif image is None and part.data is not None and part.data.ndim == 2:
                    image = dict(part.header), np.asarray(part.data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{name} is a damaged FITS file: {' '.join(str(error).split())}.") from None
    scalars = {key: value for key, value in columns.items() if value.ndim == 1 and value.dtype.kind in "iuf"}
    wide = {key: value for key, value in columns.items() if value.ndim == 2}
    if image is not None:
        header, flux = image
        wave, unit = _linear(header, flux.shape[1], name), str(header.get("CUNIT1", ""))
    elif wide:
        wave, unit, flux = _side_by_side(columns, wide, units, name)
        scalars = {key: value for key, value in scalars.items() if key.lower() not in _WAVE_COLUMNS}
    else:
        keys = list(scalars)
        places, wave, unit = _wavelengths(keys, name)
        flux = np.stack([scalars[keys[k]] for k in places], 1)
        scalars = {key: scalars[key] for k, key in enumerate(keys) if k not in places}
    target = _target(said, list(scalars), name)
    return wave, unit, flux, target, scalars[target]


def _side_by_side(
    columns: Mapping[str, np.ndarray], wide: Mapping[str, np.ndarray], units: Mapping[str, str], name: str
) -> tuple[Float64[np.ndarray, " d"], str, np.ndarray]:
    """Wavelengths, their unit and the fluxes of a table with a whole spectrum in each row."""
    waves = [key for key in columns if key.lower() in _WAVE_COLUMNS]
    fluxes = [key for key in wide if key not in waves]
    if len(waves) != 1 or len(fluxes) != 1:
        there = ", ".join(columns)
        raise InputError(f"{name} needs one column of fluxes and one called wavelength, not {there}.")
    wave = np.atleast_2d(columns[waves[0]]).astype(np.float64)
    if (wave != wave[0]).any():
        raise InputError(f"{name}: the spectra have different wavelengths: bring them to those of the first.")
    return wave[0], units[waves[0]], wide[fluxes[0]]


def _linear(header: Mapping[str, Any], pixels: int, name: str) -> Float64[np.ndarray, " d"]:
    """The wavelengths of an image: CRVAL1 + CDELT1 (k + 1 - CRPIX1).  [Greisen et al. 2006, eq. 1]"""
    step = header.get("CDELT1", header.get("CD1_1"))
    kind = str(header.get("CTYPE1", "")).upper()
    if "CRVAL1" not in header or step is None or "LOG" in kind or header.get("DC-FLAG"):
        raise InputError(f"{name}: the image's header gives no even wavelengths: CRVAL1 and CDELT1, and no logarithm.")
    return float(header["CRVAL1"]) + float(step) * (np.arange(pixels) + 1 - float(header.get("CRPIX1", 1)))


def _wavelengths(heading: Sequence[str], name: str) -> tuple[list[int], Float64[np.ndarray, " d"], str]:
    """Which columns are wavelengths, their values, and the unit that stands behind them."""
    matches = {k: match for k, each in enumerate(heading) if (match := _WAVELENGTH.fullmatch(each.strip()))}
    found = {k: match for k, match in matches.items() if match[2].strip().lower() in _SPELLED}
    spelled = {match[2].strip() for match in found.values()}
    if len(found) < 2:
        raise InputError(
            f"{name}: the heading begins with {', '.join(heading[:4])}: it needs two wavelengths or more, "
            f"with {', '.join(UNITS)} behind them or nothing."
        )
    if len(spelled) > 1:
        raise InputError(f"{name}: the heading has the units {', '.join(sorted(spelled))}: give one for all.")
    numbers = tables.numbers([[match[1] for match in found.values()]], name, [heading[k] for k in found])
    return list(found), numbers[0], spelled.pop()


def _unit(said: str, written: str, name: str) -> str:
    known = []
    for each in (said, written):
        spelled = each.strip().strip(".").lower()
        if spelled not in _SPELLED:
            raise InputError(f"{name}: the unit {each!r} of wavelength is not known: use {', '.join(UNITS)}.")
        known.append(_SPELLED[spelled])
    if all(known) and known[0] != known[1]:
        raise InputError(f"{name}: its wavelengths are in {written}, not in {said}: leave the unit out.")
    return known[0] or known[1] or "angstrom"


def _target(said: str, there: Sequence[str], name: str) -> str:
    if not there:
        raise InputError(f"{name} has no column for a target beside the spectra: add the quantity that is to be read.")
    if said and said not in there:
        raise InputError(f"{name} has no column {said!r} for a target: there is {', '.join(there)}.")
    return said or there[-1]


def _check(wave: np.ndarray, x: np.ndarray, y: np.ndarray, target: str, name: str) -> None:
    if len(x) < _FEWEST:
        raise InputError(f"{name} has {len(x)} spectra: a network learns nothing from fewer than {_FEWEST}.")
    if not np.isfinite(wave).all() or wave[0] <= 0:
        raise InputError(f"{name}: wavelengths must be finite and positive.")
    steps = np.diff(wave)
    if (worst := int(steps.argmin()) if len(steps) else -1) >= 0 and steps[worst] < _STEP - 1e-6:
        order = "are out of order" if steps[worst] <= 0 else f"are closer than {_STEP} Angstrom: average neighbours"
        raise InputError(f"{name}: the wavelengths {wave[worst]:.6g} and {wave[worst + 1]:.6g} Angstrom {order}.")
    for what, values in (("flux", x), (target, y[:, None])):
        if len(bad := np.argwhere(~np.isfinite(values))):
            raise InputError(f"{name}: {what} of spectrum {bad[0, 0] + 1} holds NaN or infinity: leave it out.")
    if len(dark := np.flatnonzero(x.max(1) <= 0)):
        raise InputError(f"{name}: spectrum {dark[0] + 1} is nowhere positive: leave it out.")
    if np.ptp(y) == 0:
        raise InputError(f"{name}: {target} is {y[0]:g} everywhere: there is nothing to learn.")
