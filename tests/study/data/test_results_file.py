"""Observations, and the Parquet file that keeps them."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from servewatt.errors import InputError, ServewattError, StoreError
from servewatt.models.catalogue import CATALOGUE
from servewatt.models.shape import shape_of
from servewatt.records import Boundary, Generation, Grade, Provider, Status, Weights
from servewatt.study.data import results_file
from servewatt.study.data.observations import observe, usable
from tests.stats.builders import TORCH, TORCH_CUDA, result, run

RUN = run((TORCH, TORCH_CUDA), blocks=2)
RESULTS = [
    result(TORCH, 0, package_j=80.0, gpu_j=40.0),
    result(TORCH_CUDA, 0, package_j=20.0, gpu_j=100.0),
    result(TORCH, 1, package_j=88.0, gpu_j=40.0, status=Status.INVALID, reason="foreign load"),
    result(TORCH, 1, package_j=84.0, gpu_j=40.0, attempt=1),
]


def test_an_observation_holds_the_trials_figures() -> None:
    seen = observe(RUN, RESULTS, "here")[0]
    # 40 tokens in 10 s; 80 J of the package and 40 J of the board; idle 2 W + 1 W, so 30 J of the 120 are idle.
    assert (seen.campaign, seen.model, seen.configuration, seen.block) == ("here", "bundled", "<CPU, TORCH>", 0)
    assert (seen.energy_j, seen.cpu_energy_j, seen.gpu_energy_j) == (120.0, 80.0, 40.0)
    assert seen.energy_j_per_token == pytest.approx(3.0)
    assert seen.cpu_energy_j_per_token == pytest.approx(2.0)
    assert seen.active_j_per_token == pytest.approx((120.0 - 30.0) / 40)
    assert seen.s_per_token == pytest.approx(0.25)
    assert (seen.tokens_out, seen.requests, seen.idle_power_w) == (40, 10, 3.0)
    assert (seen.grade, seen.cpu_percent) == (Grade.COUNTER, 150.0)


def test_an_observation_tells_how_far_it_is_from_the_limit() -> None:
    shape = shape_of(dict(CATALOGUE["pythia-410m"].config))
    machine = replace(RUN.environment, memory_bandwidth_bytes_s=20e9, cache_bytes=0)
    shaped = replace(RUN, environment=machine, plan=replace(RUN.plan, model=replace(RUN.plan.model, shape=shape)))
    steps = Generation(0, 1, 100.0, 0.1, (0.0, 0.28288), 3)
    seen, _ = observe(shaped, [result(TORCH, generations=(steps,)), RESULTS[2]], "here")
    # 1 414 004 736 bytes of weights and, with prompts of 3 tokens, 4.5 tokens of 196 608 bytes at 20 GB/s: 70.74 ms;
    # measured are 0 and 282.88 ms, 141.44 ms in the mean.
    assert seen.floor_s_per_token == pytest.approx(0.07074447)
    assert seen.times_floor == pytest.approx(0.14144 / 0.07074447)
    assert observe(RUN, [result(TORCH, generations=(steps,))], "here")[0].times_floor is None, "no shape is known"


def test_the_whole_follows_the_boundary_and_the_parts_do_not() -> None:
    narrow = replace(RUN, plan=replace(RUN.plan, procedure=replace(RUN.plan.procedure, boundary=Boundary.GPU)))
    seen = observe(narrow, RESULTS[:1], "here")[0]
    assert (seen.energy_j, seen.cpu_energy_j, seen.gpu_energy_j) == (40.0, 80.0, 40.0)


def test_a_part_that_was_not_metered_is_absent_not_zero() -> None:
    section = RESULTS[0].section("generate")
    assert section is not None
    only_cpu = replace(RESULTS[0], sections=(replace(section, energy=section.energy[:1]),))
    seen = observe(RUN, [only_cpu], "here")[0]
    assert (seen.energy_j, seen.cpu_energy_j, seen.gpu_energy_j, seen.gpu_grade) == (80.0, 80.0, None, Grade.MISSING)


def test_only_the_last_valid_attempt_of_a_block_is_used() -> None:
    kept = usable(observe(RUN, RESULTS, "here"))
    assert sorted((o.configuration, o.block, o.attempt) for o in kept) == [
        ("<CPU, TORCH>", 0, 0),
        ("<CPU, TORCH>", 1, 1),
        ("<CUDA, TORCH>", 0, 0),
    ]


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    gathered = results_file.gather([(RUN, RESULTS)], "here")
    path = tmp_path / "folder" / "here.parquet"
    results_file.write(path, gathered)
    again = results_file.read(path)
    assert again == gathered
    assert again.observations[2].reason == "foreign load"
    assert again.runs[0].model.weights is Weights.TRAINED
    assert list(again.environments.values()) == [RUN.environment]
    assert [f.configuration for f in again.runs[0].facts] == [TORCH.key, TORCH_CUDA.key]
    assert RUN.plan.configurations[1].provider is Provider.CUDA


def test_prompts_are_kept_by_digest_only(tmp_path: Path) -> None:
    note = results_file.gather([(RUN, RESULTS)], "here").runs[0].workload
    assert (note.digest, note.prompts, note.new_tokens) == (RUN.plan.workload.digest, 2, 4)


def test_a_run_that_was_stopped_before_its_first_trial_leaves_nothing() -> None:
    assert results_file.gather([(RUN, [])], "here") == results_file.Results((), ())


def test_merging_takes_a_trial_once_and_the_later_wins() -> None:
    first = results_file.gather([(RUN, RESULTS[:2])], "here")
    later = results_file.gather([(RUN, RESULTS)], "there")
    merged = results_file.merge([first, later])
    assert len(merged.observations) == 4
    assert {o.campaign for o in merged.observations} == {"there"}
    assert len(merged.runs) == 1


def test_files_that_are_no_results(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    with pytest.raises(InputError, match="there is no results file"):
        results_file.read(tmp_path / "absent.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("not Parquet")
    with pytest.raises(InputError, match="no Parquet file"):
        results_file.read(text)
    table = tmp_path / "runs.csv"
    table.write_text("model,joules\n")
    with pytest.raises(InputError) as told:
        results_file.read(table)
    assert told.value.hint.startswith(f"`servewatt study analyse --csv {table} --value COLUMN")
    other = tmp_path / "other.parquet"
    parquet.write_table(pyarrow.table({"a": [1]}), other)
    with pytest.raises(InputError, match="no results file of the study"):
        results_file.read(other)


def changed(path: Path, column: str, values: list[object] | None) -> Path:
    """A results file with another column, or without it."""
    results_file.write(path, results_file.gather([(RUN, RESULTS)], "here"))
    table = parquet.read_table(path)
    place = table.column_names.index(column)
    table = table.remove_column(place) if values is None else table.set_column(place, column, [values])
    parquet.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("status", ["fine"] * 4, "Observation record: status"),
        ("block", ["first"] * 4, "Observation record: block"),
        ("block", [None] * 4, "Observation record: block"),
        ("run", None, "Observation record: run"),
        ("energy_j", ["much"] * 4, "Observation record: energy_j"),
    ],
)
def test_a_damaged_column_is_named(tmp_path: Path, column: str, values: list[object] | None, message: str) -> None:
    with pytest.raises(InputError, match=rf"a\.parquet is damaged: not a {message}"):
        results_file.read(changed(tmp_path / "a.parquet", column, values))


def test_a_number_that_is_not_finite_is_unknown(tmp_path: Path) -> None:
    read = results_file.read(changed(tmp_path / "a.parquet", "energy_j", [1.5, math.nan, math.inf, None]))
    assert [o.energy_j for o in read.observations] == [1.5, None, None, None]


def test_a_number_that_no_column_holds_is_told(tmp_path: Path) -> None:
    gathered = results_file.gather([(RUN, RESULTS)], "here")
    huge = replace(gathered, observations=(replace(gathered.observations[0], batch=2**63),))
    with pytest.raises(StoreError, match="a run holds what no column takes"):
        results_file.write(tmp_path / "a.parquet", huge)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    gathered = results_file.gather([(RUN, RESULTS)], "here")
    path = tmp_path / os.fsdecode(b"caf\xe9=1") / os.fsdecode(b"\xe9.parquet")
    results_file.write(path, gathered)
    assert results_file.read(path) == gathered


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4), st.booleans()
)
def test_a_file_with_other_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]], short: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.parquet"
    results_file.write(path, results_file.gather([(RUN, RESULTS)], "here"))
    content = bytearray(path.read_bytes())
    for place, byte in changes:
        content[int(place * len(content))] = byte
    path.write_bytes(content[: int(changes[0][0] * len(content))] if short else content)
    with suppress(ServewattError):
        results_file.read(path)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    results_file.write(path, results_file.gather([(RUN, RESULTS)], "here"))
    assert results_file.read(path) == results_file.read(Path(path)) == results_file.read_all([path])


def test_a_file_of_version_1_is_read_without_its_median(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    results_file.write(path, results_file.gather([(RUN, RESULTS)], "here"))
    table = parquet.read_table(path)
    metadata = table.schema.metadata
    header = {key: value.replace(b'"format_version":2', b'"format_version":1') for key, value in metadata.items()}
    assert header != metadata
    columns = [name.replace("inter_token_mean_s", "inter_token_s") for name in table.column_names]
    parquet.write_table(table.rename_columns(columns).replace_schema_metadata(header), path)
    read = results_file.read(path).observations
    assert len(read) == 4
    assert {o.inter_token_mean_s for o in read} == {None}
    assert [o.energy_j for o in read][:2] == [120.0, 120.0]


def test_a_newer_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(results_file, "FORMAT_VERSION", 99)
        results_file.write(tmp_path / "new.parquet", results_file.gather([(RUN, RESULTS)], "here"))
    with pytest.raises(StoreError, match="version 99"):
        results_file.read(tmp_path / "new.parquet")
