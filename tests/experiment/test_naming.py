"""Configurations called by the names that reports give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt import serve
from servewatt.errors import InputError
from servewatt.experiment.naming import configuration, fields
from servewatt.experiment.planning import distinct, expand
from servewatt.experiment.study_file import validate
from servewatt.records import Configuration, Precision, Provider, Via

configurations = st.builds(
    Configuration,
    engine=st.sampled_from(["torch", "llama-cpp", "fake"]),
    provider=st.sampled_from(Provider),
    precision=st.sampled_from(Precision),
    batch=st.integers(1, 300),
    threads=st.none() | st.integers(1, 300),
    options=st.dictionaries(st.sampled_from(["group", "activations"]), st.sampled_from(["32", "int8"])).map(
        lambda held: tuple(sorted(held.items()))
    ),
    via=st.sampled_from(Via),
)


@given(configurations)
def test_a_key_names_its_configuration(wanted: Configuration) -> None:
    assert configuration(wanted.key) == wanted


def test_what_a_name_leaves_out_is_not_given() -> None:
    assert fields("fake/int4") == {"engine": "fake", "precision": Precision.INT4}
    assert configuration("fake") == Configuration("fake")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fake/fp33", "'fp33' in configuration 'fake/fp33' means nothing"),
        ("fake/b0", "'b0' in configuration"),
        ("fake/", "'' in configuration"),
        ("fake/fp32/int4", "has precision twice"),
        ("fake/a=1/a=2", "has a twice"),
        ("fakir", "fakir"),
    ],
)
def test_a_name_that_means_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fields(name)


def test_names_take_the_rest_from_the_lists() -> None:
    part = validate({"configurations": {"named": ["fake/int4/b2", "fake"], "batches": [1, 4]}}, "here").configurations
    kept, left_out = expand(part, has_gpu=False)
    assert [c.key for c in kept] == ["fake/cpu/int4/b2", "fake/cpu/fp32/b1", "fake/cpu/fp32/b4"]
    assert not left_out


def test_engines_or_options_beside_names_are_refused() -> None:
    part = validate({"configurations": {"named": ["fake"], "engines": ["fake"]}}, "here").configurations
    with pytest.raises(InputError, match="are named"):
        expand(part, has_gpu=False)


def test_a_reason_for_leaving_out_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PACKAGES", ("no_such_package",))
    content = {"engines": ["fake"], "batches": [1, 2], "via": ["process", "http"]}
    kept, left_out = expand(validate({"configurations": content}, "here").configurations, has_gpu=False)
    assert [c.key for c in kept] == ["fake/cpu/fp32/b1", "fake/cpu/fp32/b2"]
    assert [left.key for left in left_out] == ["fake/cpu/fp32/b1/http", "fake/cpu/fp32/b2/http"]
    assert [left.key for left in distinct(left_out)] == ["fake/cpu/fp32/b1/http"]


@pytest.mark.parametrize("part", ["b4097", "b" + "9" * 5000, "t4097"])
def test_a_number_in_a_name_has_the_range_of_the_option(part: str) -> None:
    with pytest.raises(InputError, match="allowed is 1 to 4,096") as refused:
        configuration(f"fake/{part}")
    assert len(refused.value.message) < 250
