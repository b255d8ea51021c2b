"""HTTP's share in the study."""

from __future__ import annotations

import pytest

from servewatt.errors import InputError
from servewatt.records import Via
from servewatt.report.study_outputs import make_table, possible
from servewatt.report.study_view import observed
from servewatt.study.http_share import http_shares
from servewatt.study.records import Observation
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
