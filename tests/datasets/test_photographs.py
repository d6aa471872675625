"""Photographs from a folder of toys, and from the real one."""

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spectral_lens.datasets.cache import DataError
from spectral_lens.datasets.photographs import load

REAL = Path(os.environ.get("SPECTRAL_LENS_DATA", ""))


@pytest.fixture
def real_data() -> None:
    if not os.environ.get("SPECTRAL_LENS_DATA") or not (REAL / "imagenet_sample").is_dir():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with imagenet_sample")


def lossless(image):
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def plain(label, size=(31, 17)):
    """One colour that tells the class."""
    return Image.new("RGB", size, (10 * label, 20 * label, 255 - label))


def put(folder, images):
    """A folder of these images, by class: as the real one, but with nine classes."""
    (folder / "images").mkdir(parents=True)
    rows = ["class_index,wnid,class_name,width,height,sha256"]
    for label, image in images.items():
        content = lossless(image)
        (folder / "images" / f"n{label:03}.jpg").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        rows.append(f"{label},n{label:03},some_name_{label},{image.width},{image.height},{digest}")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    names = {str(k): [f"n{k:03}", f"some_name_{k}"] for k in range(9)}
    (folder / "imagenet_class_index.json").write_text(json.dumps(names))
    return folder


@pytest.fixture
def toys(tmp_path):
    return put(tmp_path / "toys", {label: plain(label) for label in (6, 1, 8, 3, 5, 2, 7)})


def test_a_folder_becomes_a_data_set(toys):
    data = load(5, side=14, folder=toys)
    assert (data.x.shape, data.x.dtype, data.samples, data.classes) == ((5, 3, 14, 14), torch.float32, 5, 9)
    assert data.labels[:2] == ("some name 0", "some name 1")
    assert data.sha256 == hashlib.sha256((toys / "images.csv").read_bytes()).hexdigest()
    assert "5 drawn with seed 0" in data.provenance
    colours = torch.stack([10 * data.y, 20 * data.y, 255 - data.y], 1) / 255
    torch.testing.assert_close(data.x, colours[:, :, None, None].expand_as(data.x))


def test_names_of_inputs_follow_the_image(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(8, 11, 3), dtype=np.uint8)
    data = load(1, side=7, folder=put(tmp_path, {4: Image.fromarray(noise)}))
    assert len(data.inputs) == 147
    for k, colour in enumerate(("red", "green", "blue")):
        assert data.flat().x[0, data.inputs.index(f"{colour} 2,5")] == data.x[0, k, 2, 5]


def test_the_seed_draws_the_order(toys):
    classes = {seed: load(7, side=7, seed=seed, folder=toys).y.tolist() for seed in range(4)}
    assert all(sorted(found) == [1, 2, 3, 5, 6, 7, 8] for found in classes.values())
    assert len(set(map(tuple, classes.values()))) == 4
    assert load(7, side=7, seed=2, folder=toys).y.tolist() == classes[2]
    assert load(3, side=7, seed=2, folder=str(toys)).y.tolist() == classes[2][:3]


@pytest.mark.parametrize(("width", "height"), [(15, 8), (8, 13), (8, 8)])
def test_the_centre_of_images_that_need_no_change_of_size(tmp_path, width, height):
    pixels = np.random.default_rng(1).integers(256, size=(height, width, 3), dtype=np.uint8)
    found = load(1, side=7, folder=put(tmp_path, {4: Image.fromarray(pixels)})).x[0]
    top, left = (height - 7) // 2, (width - 7) // 2
    expected = pixels[top : top + 7, left : left + 7].astype(np.float32) / 255
    assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (48, 64), (11, 8), (8, 11), (23, 23)])
def test_larger_and_smaller_images_are_scaled(tmp_path, width, height):
    """Where colours rise evenly, scaling shows what was cut out: the middle, seven eighths of the shorter side."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([3 * columns, 3 * rows, np.full_like(rows, 77)], -1).astype(np.uint8)
    found = 255 * load(1, side=14, folder=put(tmp_path, {4: Image.fromarray(pixels)})).x[0]
    scaled = {length: round(16 * length / min(width, height)) for length in (width, height)}

    def seen(length):
        first = (scaled[length] - 14) // 2
        return 3 * ((torch.arange(14) + first + 0.5) * length / scaled[length] - 0.5)

    expected = torch.stack(
        [seen(width).expand(14, 14), seen(height).unsqueeze(1).expand(14, 14), torch.full((14, 14), 77.0)]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1.1)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_all_images_become_coloured_ones(tmp_path, mode):
    found = load(1, side=7, folder=put(tmp_path, {4: plain(4).convert("L").convert(mode)})).x
    assert found.shape == (1, 3, 7, 7)
    torch.testing.assert_close(found[:, 0], found[:, 2], rtol=0, atol=0)


@pytest.mark.parametrize("count", [0, -1, 8])
def test_as_many_as_there_are(toys, count):
    with pytest.raises(ValueError, match=f"has 7 photographs: count must lie between 1 and that, not {count}"):
        load(count, folder=toys)


@pytest.mark.parametrize("missing", ["images.csv", "imagenet_class_index.json", "images/n003.jpg"])
def test_missing_files_are_named(toys, missing):
    (toys / missing).unlink()
    with pytest.raises(DataError, match=f"{Path(missing).name} cannot be read .*No such file.*put photographs there"):
        load(7, side=7, folder=toys)


def test_a_missing_folder_is_named(monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"nowhere.images\.csv cannot be read"):
        load(1, folder=tmp_path / "nowhere")
    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"imagenet_sample.images\.csv cannot be read"):
        load(1)


def test_a_changed_image_is_refused(toys):
    (toys / "images" / "n005.jpg").write_bytes(lossless(plain(4)))
    with pytest.raises(DataError, match=r"n005\.jpg is not the file that is known"):
        load(7, side=7, folder=toys)


def test_the_folder_of_data_sets_holds_the_known_photographs_only(monkeypatch, tmp_path):
    put(tmp_path / "imagenet_sample", {4: plain(4)})
    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"images\.csv is not the file that is known \(SHA-256 6492d2b3"):
        load(1)


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", lossless(plain(4))[:60], lossless(plain(4))[:-20], b"\xff\xd8\xff\xe0" + bytes(50)],
)
def test_a_broken_picture_is_named(tmp_path, content):
    """One that the table describes as it is: nobody changed it, it never was whole."""
    put(tmp_path, {4: plain(4)})
    (tmp_path / "images" / "n004.jpg").write_bytes(content)
    table = (tmp_path / "images.csv").read_text().splitlines()
    (tmp_path / "images.csv").write_text(
        f"{table[0]}\n{table[1].rpartition(',')[0]},{hashlib.sha256(content).hexdigest()}"
    )
    with pytest.raises(DataError, match=r"n004\.jpg is no whole picture .*replace it") as caught:
        load(1, side=7, folder=tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_picture_of_deeper_pixels_is_refused(tmp_path, mode):
    """Pillow cuts them off at 255: nearly white."""
    file = io.BytesIO()
    Image.fromarray(np.full((9, 9), 3000, {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])).save(file, "tiff")
    put(tmp_path, {4: plain(4)})
    (tmp_path / "images" / "n004.jpg").write_bytes(file.getvalue())
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    (tmp_path / "images.csv").write_text(f"class_index,wnid,sha256\n4,n004,{digest}\n")
    with pytest.raises(DataError, match="eight bits for a colour"):
        load(1, side=7, folder=tmp_path)


@pytest.mark.parametrize(("mark", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16"), (";", "latin-1")])
def test_the_table_may_come_from_a_spreadsheet(toys, mark, encoding):
    expected = load(7, side=7, folder=toys)
    text = (toys / "images.csv").read_text().replace("some", "größe").replace(",", mark)
    (toys / "images.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    (toys / "imagenet_class_index.json").write_bytes(
        b"\xef\xbb\xbf" + (toys / "imagenet_class_index.json").read_bytes()
    )
    found = load(7, side=7, folder=toys)
    assert torch.equal(found.x, expected.x)
    assert found.labels == expected.labels


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images.csv", "class_index,class\n1,a\n", r"images\.csv has no column wnid"),
        ("images.csv", "class_index,wnid,sha256\none,n001,0\n", "class_index that is no number"),
        ("images.csv", "class_index,wnid,sha256\n1,n001\n", r"images\.csv is no table: .*row 2 has 2 cells"),
        ("imagenet_class_index.json", "{", r"index\.json is no table of classes"),
        ("imagenet_class_index.json", '{"1": ["n001", "a"]}', r"index\.json is no table of classes"),
        ("imagenet_class_index.json", "[1, 2]", r"index\.json is no table of classes"),
    ],
)
def test_tables_of_another_form_are_refused(toys, file, content, message):
    (toys / file).write_text(content)
    with pytest.raises(DataError, match=message):
        load(7, side=7, folder=toys)


@pytest.mark.data
def test_real_photographs(real_data):
    data = load(5)
    assert (data.x.shape, data.classes) == ((5, 3, 224, 224), 1000)
    assert len(set(data.y.tolist())) == 5
    assert data.labels[2] == "great white shark"
    assert 0 <= data.x.min() < 0.1 < 0.9 < data.x.max() <= 1
    assert torch.equal(load(2).x, data.x[:2])
    with pytest.raises(ValueError, match="has 150 photographs"):
        load(151)
