"""The table of torchvision's networks: each of them has a row, and rows made anew say what was written."""

import csv
import re

import pytest

import torchvision_networks as networks

DEVIATIONS = ("gradient_x_input", "zennit", "sums")


@pytest.fixture(scope="module")
def table():
    made, *lines = networks.TABLE.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"# Made by `.*` with torch [\d.]+, torchvision [\d.]+, zennit [\d.]+\.", made)
    return {row["network"]: row for row in csv.DictReader(lines)}


def test_every_network_has_a_row(table):
    assert list(table) == networks.names()


def test_what_is_explained_agrees_and_what_is_not_is_refused(table):
    for row in table.values():
        compared = [float(row[name]) for name in DEVIATIONS if row[name]]
        assert len(compared) >= 2 if row["layers"] else row["refused"]
        assert max(compared, default=0) < 1e-9, row


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small"])
def test_rows_are_made_again(table, name):
    pytest.importorskip("zennit")
    found = {field: str(value) for field, value in networks.row(name).items()}
    for field, value in table[name].items():
        if field in DEVIATIONS:
            assert field not in found if not value else float(found[field]) < 1e-9
        elif field in ("gamma", "generalised_gamma") and value:
            assert float(found[field]) == pytest.approx(float(value), rel=0.5)
        else:
            assert found.get(field, "") == value
