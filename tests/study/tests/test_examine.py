"""The study's tests beside servewatt's decision, and the reasons where they differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.errors import InputError
from servewatt.records import Status
from servewatt.study.data.csv_table import CsvSubject, CsvTable
from servewatt.study.data.observations import Observation
from servewatt.study.tests.examine import Examination, examine_csv, examine_observations
from tests.study.builders import failed, observation

TORCH, ONNX, JIT = "<CUDA, TORCH>", "<CUDA, ONNX>", "<CUDA, JIT>"
DRIFT = (1.0, 1.3, 0.8, 1.1, 0.9)
"""Each block's state of the machine."""


def trials(model: str, configuration: str, level: float, drift: tuple[float, ...] = DRIFT) -> list[Observation]:
    return [
        observation(model, configuration, block, run=model, energy_j_per_token=level * value, s_per_token=None)
        for block, value in enumerate(drift)
    ]


def only(examinations: tuple[Examination, ...]) -> Examination:
    (examination,) = examinations
    return examination


def test_one_analysis_for_each_model_and_variable_that_has_data() -> None:
    made = [o for model in ("pythia-410m", "codegemma-2b") for o in trials(model, TORCH, 2) + trials(model, ONNX, 1)]
    timed = [replace(o, s_per_token=0.1 + o.block / 100) for o in made if o.model == "codegemma-2b"]
    found = examine_observations([o for o in made if o.model != "codegemma-2b"] + timed)
    assert [(a.battery.subject, a.battery.variable) for a in found] == [
        ("pythia-410m", "energy_j_per_token"),
        ("codegemma-2b", "energy_j_per_token"),
        ("codegemma-2b", "s_per_token"),
    ]
    welch = [f for a in found[:2] for f in a.battery.findings if f.test == "welch-anova"]
    assert welch[0].p_value == welch[1].p_value
    # Three Welch ANOVAs, of which the two of energy are alike: both are multiplied by 3, and the last is as it was.
    assert welch[0].p_family == pytest.approx(3 * (welch[0].p_value or 0))


def test_two_names_of_the_same_observations_count_once() -> None:
    made = [o for n, level in ((TORCH, 2.0), (ONNX, 1.0)) for o in trials("m", n, level)]
    gpu_alone = [replace(o, gpu_energy_j_per_token=o.energy_j_per_token) for o in made]
    energy, gpu = examine_observations(gpu_alone)
    assert (energy.same_as, gpu.same_as) == ("", "energy_j_per_token")
    assert gpu.battery.variable == "gpu_energy_j_per_token"
    assert gpu.battery.notes[0] == "the same observations as of global energy; the family counts their tests once"
    welch = [f for a in (energy, gpu) for f in a.battery.findings if f.test == "welch-anova"]
    assert welch[0].p_family == welch[1].p_family == welch[0].p_value
    # One joule more, and they are two variables, although their ranks are the same.
    apart = [replace(o, gpu_energy_j_per_token=1 + (o.energy_j_per_token or 0)) for o in made]
    energy, gpu = examine_observations(apart)
    kruskal = [f for a in (energy, gpu) for f in a.battery.findings if f.test == "kruskal-wallis"]
    assert gpu.same_as == ""
    assert [f.p_family for f in kruskal] == pytest.approx([2 * (kruskal[0].p_value or 0)] * 2)


def test_variables_models_and_jit_can_be_chosen() -> None:
    made = trials("m", TORCH, 2) + trials("m", ONNX, 1) + trials("m", JIT, 3) + trials("n", TORCH, 1)
    found = only(examine_observations(made, ["energy_j_per_token"], ["m"], without_jit=True))
    assert [name for name, _ in found.battery.groups] == [TORCH, ONNX]
    with pytest.raises(InputError, match="no variable 'energy'"):
        examine_observations(made, ["energy"])
    with pytest.raises(InputError, match="no model 'o'"):
        examine_observations(made, models=["o"])


def test_failed_trials_leave_a_group_without_observations() -> None:
    made = trials("m", TORCH, 2) + trials("m", ONNX, 1)
    made += [failed("m", JIT, block, Status.OUT_OF_MEMORY, "24 GB") for block in range(5)]
    made.append(observation("m", TORCH, 0, run="m", attempt=1, energy_j_per_token=2.5, s_per_token=None))
    found = only(examine_observations(made))
    assert found.battery.groups == ((TORCH, 5), (ONNX, 5), (JIT, 0))
    refused = next(f for f in found.battery.findings if f.test == "games-howell" and f.groups == (TORCH, JIT))
    assert refused.refused == f"{JIT} has no observations"
    assert found.decision is not None
    assert found.decision.unknown == (JIT,)


def test_a_variable_that_a_configuration_does_not_have_leaves_it_out() -> None:
    made = [replace(o, gpu_energy_j_per_token=1.0 + o.block) for o in trials("m", TORCH, 1)] + trials("m", ONNX, 1)
    made.append(failed("m", "<CPU, OV>", 0, Status.CRASHED, "signal 11"))
    found = only(examine_observations(made, ["gpu_energy_j_per_token"]))
    assert found.battery.groups == ((TORCH, 5),)


def test_nothing_to_analyse_is_an_error() -> None:
    with pytest.raises(InputError, match="no valid observation"):
        examine_observations([failed("m", TORCH, 0, Status.CRASHED, "signal 11")])


def test_campaigns_are_subjects_of_their_own_and_machines_are_told() -> None:
    here, there = trials("m", TORCH, 1), [replace(o, campaign="other") for o in trials("m", TORCH, 1)]
    moved = [replace(o, machine="another") if o.block > 2 else o for o in there]
    found = examine_observations(here + moved)
    assert [a.battery.subject for a in found] == ["m (other)", "m (synthetic)"]
    assert found[0].battery.notes[0].startswith("these observations come from 2 machines")


def test_pairs_decide_what_scatter_between_blocks_hides_from_the_tests() -> None:
    # 10 % between configurations in every block, while blocks scatter by 19 %.
    less = tuple(v * s for v, s in zip(DRIFT, (0.900, 0.901, 0.899, 0.9005, 0.8995), strict=True))
    found = only(examine_observations(trials("m", TORCH, 1) + trials("m", ONNX, 1, less)))
    assert found.decision is not None
    assert not found.decision.rivals
    dunn, games = found.disagreements
    assert dunn.startswith("paired blocks decide between <CUDA, ONNX> and <CUDA, TORCH>, Dunn-Holm does not tell them")
    assert "sees ranks among all 2 groups" in dunn
    assert "Games-Howell does not tell them apart" in games
    assert "scatter between blocks, which pairing removes" in games


def test_tests_of_a_fixed_number_of_blocks_may_reject_earlier() -> None:
    made = trials("m", TORCH, 1, (1.00, 1.02, 0.98)) + trials("m", ONNX, 1, (0.92, 0.88, 0.91))
    found = only(examine_observations(made))
    assert found.decision is not None
    assert found.decision.rivals
    assert any(t.startswith("Games-Howell tells <CUDA, ONNX> from <CUDA, TORCH>") for t in found.disagreements)
    assert all("which 3 blocks cannot show yet" in t for t in found.disagreements)


def test_blocks_of_separate_runs_cannot_be_paired() -> None:
    apart = [replace(o, run="another") for o in trials("m", ONNX, 0.1)]
    found = only(examine_observations(trials("m", TORCH, 1) + apart))
    assert all("because they share no block" in t for t in found.disagreements)
    assert len(found.disagreements) == 2


def test_a_table_has_no_decision() -> None:
    subjects = tuple(CsvSubject(n, {"a": (1.0, 2.0, 3.0), "b": (7.0, 8.0, 9.5)}) for n in ("m", "n"))
    found = examine_csv(CsvTable(subjects), "joules", ["n"])
    assert only(found).battery.subject == "n"
    assert only(found).decision is None
    with pytest.raises(InputError, match="no subject 'o'"):
        examine_csv(CsvTable(subjects), "joules", ["o"])


def test_a_csv_without_blocks_gets_descriptions_differences_and_a_conclusion() -> None:
    subject = CsvSubject("phi2", {"torch": (2.0, 2.1, 1.9), "onnx": (1.0, 1.05, 0.95)})
    found = only(examine_csv(CsvTable((subject,)), "joules"))
    assert found.decision is None
    assert [(d.group, d.n, d.mean) for d in found.descriptions] == [("torch", 3, 2.0), ("onnx", 3, 1.0)]
    (difference,) = found.differences
    assert (difference.first, difference.second, difference.paired) == ("onnx", "torch", False)
    assert found.conclusion.startswith("onnx has the least joules: 50.0 % [")


def test_a_csv_with_blocks_is_decided_as_the_store_is() -> None:
    levels = {"torch": 2.0, "onnx": 1.0}
    noise = (1.0, 1.01, 0.99, 1.005, 0.995)
    values = {
        name: tuple(level * d * n for d, n in zip(DRIFT, noise if name == "onnx" else noise[::-1], strict=True))
        for name, level in levels.items()
    }
    blocks = dict.fromkeys(levels, ("mon", "tue", "wed", "thu", "fri"))
    found = only(examine_csv(CsvTable((CsvSubject("phi2", values, blocks),)), "joules"))
    stored = [
        observation("phi2", label, block, run="phi2", energy_j_per_token=value, s_per_token=None)
        for label, name in ((TORCH, "torch"), (ONNX, "onnx"))
        for block, value in enumerate(values[name])
    ]
    same = only(examine_observations(stored, ("energy_j_per_token",)))
    assert found.decision is not None and same.decision is not None
    assert found.decision.best == "onnx"
    assert found.decision.others[0].ratio == same.decision.others[0].ratio
    assert found.conclusion == found.decision.sentence
    assert "onnx has the least joules" in found.conclusion
    assert "(5 blocks)" in found.conclusion


def test_several_observations_in_a_block_are_paired_by_their_mean() -> None:
    values = {"a": (1.0, 3.0, 2.0), "b": (4.0, 4.4)}
    blocks = {"a": ("1", "1", "2"), "b": ("1", "2")}
    found = only(examine_csv(CsvTable((CsvSubject("s", values, blocks),)), "j"))
    (difference,) = found.differences
    assert difference.ratio is not None
    # Means of the blocks: 2 and 2 over 4 and 4.4.
    assert difference.ratio.estimate == pytest.approx((2 / 4 * 2 / 4.4) ** 0.5)
    assert any("several observations in one block (a)" in note for note in found.battery.notes)
