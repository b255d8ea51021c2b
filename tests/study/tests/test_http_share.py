"""HTTP's share in the study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.errors import InputError
from servewatt.records import Via
from servewatt.study.data import results_file
from servewatt.study.data.observations import Observation, observe
from servewatt.study.outputs import make_table, possible
from servewatt.study.tests.http_share import http_shares
from servewatt.study.view import observed
from tests.stats.builders import run
from tests.stats.test_http_share import TORCH_HTTP, timed
from tests.study.builders import observation


def both_ways(blocks: int = 3) -> list[Observation]:
    """Through HTTP a token takes 1.25 times the energy and twice the time, in every block alike."""
    process = [observation(block=b, energy_j_per_token=4.0 + b, s_per_token=1.0) for b in range(blocks)]
    http = [
        observation(
            configuration="<CUDA, TORCH, HTTP>",
            precision="fp32",
            via=Via.HTTP,
            block=b,
            energy_j_per_token=1.25 * (4.0 + b),
            s_per_token=2.0,
        )
        for b in range(blocks)
    ]
    return [*process, *http]


def test_the_share_is_what_process_lacks() -> None:
    share = http_shares(both_ways())[0]
    assert (share.model, share.configuration) == ("pythia-410m", "<CUDA, TORCH>")
    assert share.energy is not None and share.time is not None
    assert share.energy.estimate == pytest.approx(1 - 1 / 1.25)
    assert share.time.estimate == pytest.approx(0.5)
    assert share.energy.n == 3


def test_one_way_alone_has_no_share() -> None:
    assert http_shares(both_ways()[:3]) == ()
    assert http_shares(both_ways()[3:]) == ()


def test_blocks_are_paired() -> None:
    # The second block was not measured through HTTP.
    share = http_shares([o for o in both_ways() if not (o.via is Via.HTTP and o.block == 1)])[0]
    assert share.energy is not None and share.energy.n == 2


def test_the_table_states_it() -> None:
    view = observed(both_ways(), (), tested=False)
    assert "http" in possible(view)[0]
    row = make_table(view, "http").rows[0]
    assert row[3].number == pytest.approx(0.2)
    alone = observed(both_ways()[:3], (), tested=False)
    assert "http" not in possible(alone)[0]
    with pytest.raises(InputError, match="through HTTP"):
        make_table(alone, "http")


def with_engine_seconds(*shares: float) -> list[Observation]:
    """Through HTTP, block by block; the engine works for these shares of the client's time."""
    http = [o for o in both_ways() if o.via is Via.HTTP]
    return [replace(o, engine_share=s) for o, s in zip(http, shares, strict=True)]


def test_a_trial_s_engine_share_is_an_observation_and_survives_the_file(tmp_path: Path) -> None:
    (seen,) = observe(run((TORCH_HTTP,)), [timed(TORCH_HTTP, 0, 0.19, 0.15)], "here")
    assert seen.engine_share == pytest.approx(0.85)
    results_file.write(tmp_path / "r.parquet", results_file.Results((seen,), ()))
    assert results_file.read(tmp_path / "r.parquet").observations == (seen,)


def test_http_alone_is_enough_where_the_engine_s_seconds_are_known() -> None:
    (share,) = http_shares(with_engine_seconds(0.9, 0.9, 0.9))
    assert (share.energy, share.time, share.configuration) == (None, None, "<CUDA, TORCH>")
    assert share.outside_engine is not None
    assert share.outside_engine.estimate == pytest.approx(0.1)
    table = make_table(observed(with_engine_seconds(0.9, 0.9, 0.9), (), tested=False), "http")
    assert [c.name for c in table.columns] == ["campaign", "model", "configuration", "outside_engine_share"]
    assert "not energy" in " ".join(table.notes)


def test_older_results_show_what_they_showed_and_newer_ones_beside_them_say_so() -> None:
    old = make_table(observed(both_ways(), (), tested=False), "http")
    assert [c.name for c in old.columns][3:] == ["energy_share", "time_share"]
    other = [replace(o, model="codegemma-2b") for o in with_engine_seconds(0.8, 0.8, 0.8)]
    table = make_table(observed([*both_ways(), *other], (), tested=False), "http")
    assert [c.name for c in table.columns][3:] == ["outside_engine_share", "energy_share", "time_share"]
    known, unknown = (row[3] for row in table.rows)
    assert unknown.number is None
    assert known.number == pytest.approx(0.2)
    assert unknown.notes == ("measured by a version that did not record the engine's seconds",)


RESULTS = Path(__file__).parents[3] / "results"


def test_the_recorded_results_of_an_older_version_are_read() -> None:
    recorded = results_file.read(RESULTS / "cpu-2-core.parquet")
    assert {o.engine_share for o in recorded.observations} == {None}
    assert http_shares(recorded.observations) == ()


def test_the_recorded_shares_are_those_that_the_study_tells() -> None:
    shares = http_shares(results_file.read(RESULTS / "cpu-2-core-http.parquet").observations)
    assert len(shares) == 8
    known = [s.outside_engine for s in shares if s.outside_engine is not None]
    assert len(known) == 8
    assert all(0.002 < k.estimate < 0.007 and k.high is not None and k.high < 0.0135 for k in known)
