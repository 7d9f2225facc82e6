"""The plan: the runs of a study, and what makes two of them the same run."""

import dataclasses
import pickle
import random
from pathlib import Path

import pytest

from hyena.errors import InputError
from sweep.schema import PLAN
from sweep.study import Study, load_study
from sweep.study_weights import weights_keys
from sweep.trials import DataFacts, RunSpec, data_spec, facts_of, load_data, merged_points, plan, stacked


def planned(path: Path, *overrides: str) -> list[RunSpec]:
    study = load_study(path, overrides)
    return plan(study, data_of(study), {one: f"weights-{one.name}" for one in study.pretrainings})


def data_of(study: Study) -> dict:
    specs = {name: data_spec(study, name, None) for name in study.grid.datasets}
    return {name: (spec, facts_of(load_data(spec))) for name, spec in specs.items()}


def ids(runs: list[RunSpec]) -> set[str]:
    return {run.run_id for run in runs}


def test_the_grid_is_crossed_and_runs_of_few_epochs_come_first(path: Path) -> None:
    runs = planned(path)
    assert len(runs) == len(ids(runs)) == 2 * 1 * 2 * 3 * 2
    assert [run.training.epochs for run in runs] == [1] * 12 + [2] * 12
    assert [(run.seed, run.init) for run in runs[:3]] == [(1, "pretrained"), (1, "scratch"), (2, "pretrained")]


def test_an_exclusion_removes_runs_and_does_not_change_the_others(path: Path) -> None:
    less = planned(path, 'exclude=[{models=["large"], epochs=[2]}]')
    assert ids(less) < ids(planned(path))
    assert {(run.model, run.training.epochs) for run in less} == {("small", 1), ("large", 1), ("small", 2)}


def test_an_extended_study_keeps_its_runs(path: Path) -> None:
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
def test_a_change_of_the_result_makes_another_run(path: Path, change: str) -> None:
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
    one, other = (plan(study, data_of(study), dict.fromkeys(study.pretrainings, key)) for key in ("a", "b"))
    assert {run.init for run in one if run.run_id in ids(other)} == {"scratch"}


def test_weights_depend_on_recipe_and_corpus_but_not_on_logging(path: Path) -> None:
    small, large = load_study(path).pretrainings
    keys = weights_keys(load_study(path), "digest")
    assert keys[small] != keys[large]
    assert weights_keys(load_study(path, ("pretraining.log_every=1",)), "digest") == keys
    assert weights_keys(load_study(path, ("pretraining.steps=2",)), "digest")[small] != keys[small]
    assert weights_keys(load_study(path), "other")[small] != keys[small]
    more = weights_keys(load_study(path, ("pretraining.seeds=[7, 0]",)), "digest")
    assert len(set(more.values())) == 4
    assert keys.items() < more.items()


def test_runs_that_differ_only_in_their_seed_are_stacked(path: Path) -> None:
    runs = planned(path, "grid.seeds=[1,2,3,4,5]")
    trials = stacked(runs, lambda run: 4 if run.model == "large" else 1)
    assert sorted(run.run_id for trial in trials for run in trial.runs) == sorted(ids(runs))
    for trial in trials:
        assert len({(run.setting_id, run.init) for run in trial.runs}) == 1
    sizes = {model: [len(t.runs) for t in trials if t.runs[0].model == model] for model in ("small", "large")}
    assert sizes == {"small": [1] * 20, "large": [2, 2, 3, 3] * 2}  # as equal as possible, the arms side by side
    assert trials[0].config()["run_ids"] == [runs[0].run_id]


def starts(runs: list[RunSpec]) -> dict[tuple[str, int], list[int | None]]:
    """By initialisation and seed, the seeds of the pretrainings of one cell."""
    found: dict[tuple[str, int], list[int | None]] = {}
    for run in runs:
        if (run.model, run.training.epochs) == ("small", 1):
            found.setdefault((run.init, run.seed), []).append(run.pretraining.seed if run.pretraining else None)
    return found


ALL_ARMS = 'grid.init=["pretrained", "scratch", "shuffled", "frozen"]'


def test_nested_seeds_take_turns_at_the_pretrainings(path: Path) -> None:
    runs = planned(path, ALL_ARMS, "pretraining.seeds=[8, 9]")
    assert len(runs) == 2 * 2 * 3 * 4
    turns = {1: [8], 2: [9], 3: [8]}
    assert starts(runs) == {
        **{(init, seed): turns[seed] for init in ("pretrained", "shuffled", "frozen") for seed in (1, 2, 3)},
        **{("scratch", seed): [None] for seed in (1, 2, 3)},
    }
    more = planned(path, ALL_ARMS, "pretraining.seeds=[8, 9]", "grid.seeds=[1, 2, 3, 4]")
    assert ids(runs) < ids(more)


def test_crossed_seeds_start_from_every_pretraining(path: Path) -> None:
    runs = planned(path, ALL_ARMS, "pretraining.seeds=[8, 9]", "grid.design=crossed")
    assert len(runs) == len(ids(runs)) == 2 * 2 * 3 * (3 * 2 + 1)
    assert starts(runs) == {
        **{(init, seed): [8, 9] for init in ("pretrained", "shuffled", "frozen") for seed in (1, 2, 3)},
        **{("scratch", seed): [None] for seed in (1, 2, 3)},
    }
    assert len({run.setting_id for run in runs}) == 2 * 2  # it depends on neither weights nor design
    nested = planned(path, ALL_ARMS, "pretraining.seeds=[8, 9]")
    assert ids(nested) < ids(runs)


def test_a_run_names_its_pretraining(path: Path) -> None:
    rows = [run.identity() for run in planned(path, "pretraining.seeds=[8, 9]")]
    assert {(row["init"], row["corpus"], row["pretraining_seed"]) for row in rows} == {
        ("pretrained", "synthetic", 8), ("pretrained", "synthetic", 9), ("scratch", None, None)
    }  # fmt: skip


def test_runs_from_different_pretrainings_of_the_study_are_stacked(path: Path) -> None:
    runs = planned(path, "pretraining.seeds=[8, 9]")
    trials = stacked(runs, lambda run: 3)
    assert {len(trial.runs) for trial in trials} == {3}
    assert {len({run.weights_key for run in trial.runs}) for trial in trials} == {1, 2}
    told = {(trial.runs[0].init, trial.config()["seeds"], trial.config()["pretraining_seeds"]) for trial in trials}
    assert told == {("pretrained", "1-2-3", "8-9-8"), ("scratch", "1-2-3", "")}


def test_runs_from_different_files_are_not_stacked(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    (tmp_path / "files.toml").write_text(text[: text.index("[pretraining]")])
    own = ('grid.models=["small"]', 'weights.paths.small=["a", "b"]')
    trials = stacked(planned(tmp_path / "files.toml", *own), lambda run: 3)
    assert {len({run.weights_key for run in trial.runs}) for trial in trials} == {1}
    assert {len(trial.runs) for trial in trials if trial.runs[0].init == "pretrained"} == {1, 2}


def test_max_length_is_resolved_to_the_longest_sequence(path: Path) -> None:
    assert {run.training.max_length for run in planned(path)} == {120}


def test_values_that_mean_the_same_run_are_planned_once(path: Path) -> None:
    overrides = ("grid.max_length=[130, 60, 125, 121]",)
    runs = planned(path, *overrides)
    assert len(runs) == len(ids(runs)) == 2 * len(planned(path))
    assert ids(planned(path)) < ids(runs)
    study = load_study(path, overrides)
    assert merged_points(study, data_of(study)) == [
        "max_length 121, 125 and 130 are the same for data set 'synthetic_tracts' (longest sequence 120): planned once"
    ]
    assert merged_points(load_study(path), data_of(study)) == []
    assert merged_points(study, {}) == []


def test_lengths_that_change_the_padding_are_different_runs(path: Path) -> None:
    overrides = ("grid.max_length=[125, 130]", "training.padding=left")
    assert len(planned(path, *overrides)) == 2 * len(planned(path))
    study = load_study(path, overrides)
    assert merged_points(study, data_of(study)) == []
    crossed = load_study(path, ("grid.max_length=[125, 130]", 'grid.padding=["left", "right"]'))
    assert merged_points(crossed, data_of(crossed)) == [
        "max_length 125 and 130 are the same for data set 'synthetic_tracts' (longest sequence 120): planned once"
    ]


def facts_with(study: Study, **values: object) -> dict:
    """The study's data sets, their facts changed."""
    return {name: (spec, dataclasses.replace(facts, **values)) for name, (spec, facts) in data_of(study).items()}


def test_the_plan_refuses_a_class_too_rare_to_split(path: Path) -> None:
    study = load_study(path, ('datasets.synthetic_tracts={format="csv", path="/somewhere/genes"}',))
    weights = dict.fromkeys(study.pretrainings, "w")
    spec, facts = data_spec(study, "synthetic_tracts", None), DataFacts("d", ("a", "2"), (20, 1), 60, 0, 5)
    with pytest.raises(InputError) as error:
        plan(study, {spec.name: (spec, facts)}, weights)
    assert str(error.value) == (
        "data set 'synthetic_tracts' (/somewhere/genes): class '2' has 1 training sequence, and a validation fraction "
        "of 0.1 leaves none: set training.validation_fraction = 0 or provide a validation split"
    )
    assert plan(study, {spec.name: (spec, dataclasses.replace(facts, validation_examples=3))}, weights)
    uncut = load_study(path, ("training.validation_fraction=0",))
    assert plan(uncut, facts_with(uncut, class_counts=(20, 1)), weights)
    crossed = load_study(path, ("grid.validation_fraction=[0.0, 0.5]",))
    with pytest.raises(InputError, match=r"'synthetic_tracts': class 'phased' has 1 .* fraction of 0\.5 leaves"):
        plan(crossed, facts_with(crossed, class_counts=(20, 1)), weights)


def test_the_plan_refuses_more_classes_than_labels_can_store(path: Path) -> None:
    study = load_study(path)
    weights = dict.fromkeys(study.pretrainings, "w")
    names = tuple(map(str, range(2**15 + 1)))
    with pytest.raises(InputError, match="'synthetic_tracts': 32769 classes; it must have at most 32768"):
        plan(study, facts_with(study, classes=names, class_counts=(9,) * len(names)), weights)
    assert plan(study, facts_with(study, classes=names[1:], class_counts=(9,) * (len(names) - 1)), weights)


def test_the_plan_refuses_a_regrouped_split_that_cannot_be_made(path: Path, tmp_path: Path) -> None:
    letters = random.Random(0)
    one, two = ("".join(letters.choices("ACGT", k=90)) for _ in range(2))
    (tmp_path / "twins").mkdir()
    table = "sequence,label\n" + f"{one},a\n{two},b\n" * 8
    for split in ("train", "test"):
        (tmp_path / "twins" / f"{split}.csv").write_text(table)
    own = ('datasets.twins={format="csv", path="twins"}', 'grid.datasets=["twins"]')
    assert planned(path, *own)
    with pytest.raises(InputError, match=r"'twins': cannot be split without shared 60-mers; class '[ab]' would be mi"):
        planned(path, *own, "training.split=regroup")
    absent = load_study(path, (*own, "training.split=regroup", 'datasets.twins.path="elsewhere"'))
    facts = DataFacts("d", ("a", "b"), (8, 8), 90, 0, 16)
    assert plan(absent, {"twins": (data_spec(absent, "twins", None), facts)}, dict.fromkeys(absent.pretrainings, "w"))


def test_a_pickled_run_is_small(path: Path) -> None:
    assert len(pickle.dumps(planned(path)[0])) < 4_000


def test_a_model_whose_l_max_is_too_small_is_refused(path: Path) -> None:
    with pytest.raises(
        InputError, match=r"padded to 120, but the model 'small' takes at most 110; set training\.max_length"
    ):
        planned(path, "models.small.l_max=110")


def test_identity_has_all_columns_of_the_plan(path: Path) -> None:
    assert list(planned(path)[0].identity()) == PLAN.names
