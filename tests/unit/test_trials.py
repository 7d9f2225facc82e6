"""The plan: which runs a study asks for, and what makes two runs the same one."""

from pathlib import Path

import pytest

from hyena.errors import InputError
from sweep.schema import PLAN
from sweep.study import Study, load_study
from sweep.trials import RunSpec, data_spec, facts_of, load_data, plan, stacked, weights_keys

STUDY = """
[grid]
models = ["small", "large"]
datasets = ["synthetic_genes"]
seeds = [1, 2, 3]
epochs = [2, 1]
[models.small]
d_model = 8
n_layer = 1
l_max = 130
[models.large]
d_model = 8
n_layer = 2
l_max = 130
[synthetic]
train_examples = 20
test_examples = 10
[pretraining]
corpus = "synthetic"
steps = 1
length = 100
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def planned(path: Path, *overrides: str) -> list[RunSpec]:
    study = load_study(path, overrides)
    return plan(study, data_of(study), {name: f"weights-{name}" for name in study.grid.models})


def data_of(study: Study) -> dict:
    specs = {name: data_spec(study, name, None) for name in study.grid.datasets}
    return {name: (spec, facts_of(load_data(spec))) for name, spec in specs.items()}


def ids(runs: list[RunSpec]) -> set[str]:
    return {run.run_id for run in runs}


def test_the_grid_is_crossed_and_the_cheap_runs_come_first(path: Path) -> None:
    runs = planned(path)
    assert len(runs) == len(ids(runs)) == 2 * 1 * 2 * 3 * 2
    assert [run.training.epochs for run in runs] == [1] * 12 + [2] * 12
    assert [(run.seed, run.init) for run in runs[:3]] == [(1, "pretrained"), (1, "scratch"), (2, "pretrained")]


def test_an_exclusion_takes_runs_away_and_leaves_the_others_as_they_were(path: Path) -> None:
    less = planned(path, 'exclude=[{models=["large"], epochs=[2]}]')
    assert ids(less) < ids(planned(path))
    assert {(run.model, run.training.epochs) for run in less} == {("small", 1), ("large", 1), ("small", 2)}


def test_a_study_that_grows_keeps_the_runs_it_had(path: Path) -> None:
    before = ids(planned(path))
    assert before < ids(planned(path, "grid.seeds=[1,2,3,4]"))
    assert before == ids(
        planned(path, "name=renamed", "description=x", "analysis.margin=1", "resources.cpus=2", "keep_models=true")
    )
    assert before == ids(planned(path, "models.small.checkpoint_activations=true"))


def test_a_published_size_with_checkpointing_keeps_its_runs(path: Path) -> None:
    name = "hyenadna-tiny-1k-seqlen"
    published = f'grid.models=["{name}"]'
    before = planned(path, published)
    checkpointed = planned(path, published, f"models.{name}.checkpoint_activations=true")
    assert ids(before) == ids(checkpointed)
    assert {run.config.checkpoint_activations for run in checkpointed} == {True}
    assert not ids(before) & ids(planned(path, published, f"models.{name}.embed_dropout=0.2"))


@pytest.mark.parametrize(
    "change",
    ["training.learning_rate=1e-3", "training.padding=left", "split_seed=1", "synthetic.seed=1",
     "training.max_length=64", "models.small.filter_order=32", "training.precision=bfloat16"],
)  # fmt: skip
def test_whatever_changes_the_result_makes_another_run(path: Path, change: str) -> None:
    kept = ids(planned(path)) & ids(planned(path, change))
    expected = 12 if change.startswith("models.small") else 0  # the other size keeps its runs
    assert len(kept) == expected


def test_the_arms_of_a_pair_share_their_setting(path: Path) -> None:
    runs = planned(path)
    by_setting: dict[str, list[RunSpec]] = {}
    for run in runs:
        by_setting.setdefault(run.setting_id, []).append(run)
    assert len(by_setting) == 2 * 2
    for members in by_setting.values():
        assert sorted((run.init, run.seed) for run in members) == [
            (i, s) for i in ("pretrained", "scratch") for s in (1, 2, 3)
        ]
        assert len({(run.model, run.data.name, run.training) for run in members}) == 1


def test_only_the_pretrained_arm_depends_on_the_weights(path: Path) -> None:
    study = load_study(path)
    one, other = (plan(study, data_of(study), dict.fromkeys(study.grid.models, key)) for key in ("a", "b"))
    assert {run.init for run in one if run.run_id in ids(other)} == {"scratch"}


def test_weights_depend_on_recipe_and_corpus_but_not_on_what_is_logged(path: Path) -> None:
    keys = weights_keys(load_study(path), "digest")
    assert keys["small"] != keys["large"]
    assert weights_keys(load_study(path, ("pretraining.log_every=1",)), "digest") == keys
    assert weights_keys(load_study(path, ("pretraining.steps=2",)), "digest")["small"] != keys["small"]
    assert weights_keys(load_study(path), "other")["small"] != keys["small"]


def test_runs_that_differ_in_their_seed_alone_are_stacked(path: Path) -> None:
    runs = planned(path, "grid.seeds=[1,2,3,4,5]")
    trials = stacked(runs, lambda run: 4 if run.model == "large" else 1)
    assert sorted(run.run_id for trial in trials for run in trial.runs) == sorted(ids(runs))
    for trial in trials:
        assert len({(run.setting_id, run.init) for run in trial.runs}) == 1
    sizes = {model: [len(t.runs) for t in trials if t.runs[0].model == model] for model in ("small", "large")}
    assert sizes == {"small": [1] * 20, "large": [2, 2, 3, 3] * 2}  # as equal as can be, the arms side by side
    assert trials[0].config()["run_ids"] == [runs[0].run_id]


def test_max_length_is_resolved_to_the_longest_sequence(path: Path) -> None:
    assert {run.training.max_length for run in planned(path)} == {120}


def test_a_model_too_short_for_its_input_is_refused(path: Path) -> None:
    with pytest.raises(
        InputError, match=r"padded to 120, but the model 'small' takes at most 110; set training\.max_length"
    ):
        planned(path, "models.small.l_max=110")


def test_identity_fills_the_plan_table(path: Path) -> None:
    assert list(planned(path)[0].identity()) == PLAN.names
