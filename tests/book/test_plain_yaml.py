"""YAML 1.2's core schema."""

import math

import pytest
import yaml

from spectral_lens.book.plain_yaml import load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("-17", -17), ("+3", 3), ("010", "010"), ("0x1f", "0x1f"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("1e-3", 1e-3), ("1.", 1.0), (".5", 0.5), ("-.5E+2", -50.0), ("00.5", "00.5"), ("e3", "e3"), (".", "."),
        (".inf", math.inf), ("-.INF", -math.inf), ("inf", "inf"),
        ("true", True), ("False", False), ("yes", "yes"), ("off", "off"), ("~", None), ("Null", None), ("", None),
        ("2020-01-01", "2020-01-01"), ("2020-01-01 10:00:00", "2020-01-01 10:00:00"), ("=", "="), ("'1'", "1"),
    ],
)  # fmt: skip
def test_core_schema(text, value):
    found = load(text, "x")
    assert found == value
    assert type(found) is type(value)
    assert math.isnan(load(".nan", "x"))


def test_tables_and_anchors_as_before():
    text = "a: &one {x: 1, y: [1, 2]}\nb:\n  <<: *one\n  x: 3\n"
    assert load(text, "x") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "^t.yml: "),
        ("a: 1\nb:\n\tc: 2\n", "^t.yml, line 3: "),
        ("a: 1\nb: 2\na: 3\n", "^t.yml, line 1: 'a' stands twice"),
        ("a: !!python/object:os.system 1\n", "could not determine a constructor"),
        ("a: !!timestamp 2020-13-45", "month"),
        ("a: \x00", "special characters are not allowed"),
        ("a: *b", "undefined alias"),
    ],
)
def test_mistakes_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(text, "t.yml")
    assert "\n" not in str(caught.value)
