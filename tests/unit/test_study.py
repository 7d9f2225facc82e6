"""Study files: what is accepted, what is refused, and in which words."""

import dataclasses
from pathlib import Path

import pytest

from hyena.config import PUBLISHED
from hyena.errors import InputError
from sweep.study import load_study

STUDIES = Path(__file__).resolve().parents[2] / "studies"
MINIMAL = """
[grid]
models = ["hyenadna-tiny-1k-seqlen"]
datasets = ["human_enhancers_cohn"]
seeds = [1, 2]
epochs = [3]
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_studies_are_valid(path: Path) -> None:
    assert load_study(path).name == path.stem


def test_what_is_left_out_has_its_default(minimal: Path) -> None:
    study = load_study(minimal)
    assert study.name == "mine"
    assert study.grid.init == ("pretrained", "scratch")
    assert study.training["batch_size"] == 256
    assert "epochs" not in study.training
    assert study.analysis.margin == 0.5
    assert study.resolved()["training"]["learning_rate"] == 6e-4


def test_overrides_take_toml_values_and_bare_words(minimal: Path) -> None:
    study = load_study(minimal, ("grid.seeds=[7]", "training.padding=left", "name=other", "analysis.margin = 1"))
    assert (study.grid.seeds, study.training["padding"], study.name) == ((7,), "left", "other")
    assert study.analysis.margin == 1.0


def test_a_training_value_in_the_grid_is_an_axis(minimal: Path) -> None:
    study = load_study(minimal, ("grid.learning_rate=[1e-4, 6e-4]",))
    assert study.vary == {"learning_rate": (1e-4, 6e-4)}


def test_what_is_excluded_is_not_among_the_points(minimal: Path) -> None:
    grid = ("grid.epochs=[3, 50]", "grid.learning_rate=[1e-4, 6e-4]")
    rules = 'exclude=[{epochs=[50], init=["scratch"]}, {seeds=[2], learning_rate=[1e-4]}]'
    whole, less = load_study(minimal, grid), load_study(minimal, (*grid, rules))
    left_out = [point for point in whole.points() if point not in list(less.points())]
    assert len(list(whole.points())) == 2 * 2 * 2 * 2
    assert all(
        (point["epochs"], point["init"]) == (50, "scratch") or (point["seeds"], point["learning_rate"]) == (2, 1e-4)
        for point in left_out
    )
    assert len(left_out) == 4 + 4 - 1
    assert less.resolved()["exclude"][0] == {"epochs": [50], "init": ["scratch"]}


def test_a_study_that_makes_its_weights_takes_no_others(minimal: Path) -> None:
    made = ('pretraining={corpus="synthetic", steps=1}',)
    load_study(minimal, made)
    with pytest.raises(InputError, match=r"the study makes its own in \[pretraining\]; keep one of the two"):
        load_study(minimal, (*made, "weights.revision=v2"))


def test_relative_paths_count_from_the_study_file(minimal: Path) -> None:
    (minimal.parent / "genome.fa").write_text(">x\nACGT\n")
    study = load_study(
        minimal,
        ('datasets.own={format="csv", path="data/own"}', 'pretraining={corpus=["genome.fa"], steps=1}'),
    )
    assert study.datasets["own"].path == minimal.parent / "data" / "own"
    assert study.pretraining is not None
    assert study.pretraining.corpus == (str(minimal.parent / "genome.fa"),)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("grid.seedz=[1]", "grid: unknown key 'seedz'; did you mean 'seeds'?"),
        ("grids=3", "unknown key 'grids'; did you mean 'grid'?"),
        ("grid.models=[]", "models is empty"),
        ("grid.seeds=[1, 1]", "names a value twice"),
        ('grid.models=["hyenadna-tiny-1k"]', "unknown model 'hyenadna-tiny-1k'; did you mean 'hyenadna-tiny-1k-seqlen"),
        (
            'grid.datasets=["human_enhancer_cohn"]',
            "unknown data set 'human_enhancer_cohn'; did you mean 'human_enhancers_cohn'?",
        ),
        ('grid.init=["scrath"]', "unknown init 'scrath'; did you mean 'scratch'?"),
        ('grid.seeds=["1"]', "grid.seeds.0 = ['1']: input should be a valid integer"),
        ("training.learning_rate=-1", "learning_rate = -1.0: it must be more than 0"),
        ("training.batch_size=1.5", "training.batch_size = 1.5"),
        ("training.padding=up", "training.padding = 'up': input should be 'left' or 'right'"),
        ("training.epochs=3", "epochs are an axis"),
        ("models.m={d_model=8, n_layer=1}", "models.m: l_max is missing"),
        ("models.m={d_model=8, n_layer=1, l_max=9, emb_dim=4}", "models.m: emb_dim = 4"),
        ("datasets.d={format=xml}", "datasets.d"),
        ("pretraining.steps=3", "corpus is missing"),
        ('pretraining={corpus=["none.fa"], steps=1}', "no file"),
        ("pretraining={corpus=synthetic, steps=1}", "pretraining.length"),
        ("resources.cpus=0", "cpus = 0"),
        ("resources.gpus=1.5", "gpus = 1.5"),
        ("analysis.epochs=9", "analysis.epochs = 9: it must be one of [3]"),
        ("name=a/b", "name = 'a/b'"),
        ("exclude=[{seed=[1]}]", "exclude.0: unknown key 'seed'; did you mean 'seeds'?"),
        ("exclude=[{seeds=[3]}]", "exclude.0.seeds: 3 is not in [grid], so nothing is left out"),
        ("exclude=[{seeds=1}]", "exclude.0.seeds = 1: it must be a list"),
        ("exclude=[{}]", "exclude.0: it must be a table"),
        ("exclude={seeds=[1]}", "exclude must be a list of tables: [[exclude]]"),
        ("exclude=[{seeds=[1, 2]}]", "exclude: it leaves nothing of the grid"),
        ("exclude=[{seeds=[1]}, {learning_rate=[1e-4]}]", "exclude.1: unknown key 'learning_rate'"),
        ("resources.gpus=some", "resources.gpus"),
        ("resources.runs_per_gpu=0", "runs_per_gpu = 0"),
        ("resources.price_per_hour=-1", "price_per_hour = -1"),
        ("weights.revison=main", "weights: unknown key 'revison'; did you mean 'revision'?"),
        ("weights.revision=3", "weights.revision = 3: input should be a valid string"),
        ('weights.revision=""', "weights: revision is empty: it must name a branch, a tag or a commit"),
        ("weights=x", "weights must be a table: [weights]"),
        ("weights.paths.m=3", "weights.paths = {'m': 3}"),
        (
            'weights.paths.hyenadna-tiny-1k-seqln="x"',
            "weights.paths: unknown model 'hyenadna-tiny-1k-seqln'; did you mean 'hyenadna-tiny-1k-seqlen",
        ),
        ("models.hyenadna-tiny-1k-seqlen=3", "models.hyenadna-tiny-1k-seqlen must be a table"),
        ("keep_models=1", "keep_models = 1: input should be a valid boolean"),
        ("keep_model=true", "unknown key 'keep_model'; did you mean 'keep_models'?"),
        ("nonsense", "--set nonsense: it must be KEY=VALUE"),
    ],
)
def test_a_mistake_is_named_in_one_line(minimal: Path, override: str, words: str) -> None:
    overrides = (override,)
    if "pretraining={corpus=synthetic" in override:  # a model too short for the default window of 1,000
        overrides = ("models.m={d_model=8, n_layer=1, l_max=9}", 'grid.models=["m"]',
                     'pretraining={corpus="synthetic", steps=1}')  # fmt: skip
    with pytest.raises(InputError) as error:
        load_study(minimal, overrides)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_are_named_by_revision_and_by_path(minimal: Path) -> None:
    own = ("models.m={d_model=8, n_layer=1, l_max=64}", 'grid.models=["m", "hyenadna-tiny-1k-seqlen"]')
    study = load_study(minimal, (*own, "weights.revision=v2", 'weights.paths.m="made/m"'))
    assert study.weights.revision == "v2"
    assert study.weights.paths == {"m": minimal.parent / "made" / "m"}
    assert study.resolved()["weights"] == {"revision": "v2", "paths": {"m": str(minimal.parent / "made" / "m")}}
    assert load_study(minimal, own).resolved()["weights"] == {"revision": None, "paths": {}}


def test_the_models_that_take_weights_are_those_of_the_runs(minimal: Path) -> None:
    models = ("models.m={d_model=8, n_layer=1, l_max=64}", 'grid.models=["m", "hyenadna-tiny-1k-seqlen"]')
    assert load_study(minimal, models).pretrained_models == ["m", "hyenadna-tiny-1k-seqlen"]
    rule = 'exclude=[{models=["m"], init=["pretrained"]}]'
    assert load_study(minimal, (*models, rule)).pretrained_models == ["hyenadna-tiny-1k-seqlen"]
    assert load_study(minimal, (*models, 'grid.init=["scratch"]')).pretrained_models == []


def test_a_published_size_may_differ_in_what_leaves_its_tensors_alone(minimal: Path) -> None:
    name = "hyenadna-tiny-1k-seqlen"
    study = load_study(minimal, (f"models.{name}.checkpoint_activations=true", f"models.{name}.embed_dropout=0.2"))
    expected = dataclasses.replace(PUBLISHED[name], embed_dropout=0.2)
    assert study.model(name) == expected
    assert study.model(name).checkpoint_activations
    with pytest.raises(InputError, match=r"n_layer = 3, where the published size has 2; .* needs another name"):
        load_study(minimal, (f"models.{name}.n_layer=3",))


@pytest.mark.parametrize("content", [b"[grid\n", b"\xff\xfe", b"grid = 3\n"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"study\.toml: "):
        load_study(path)
    with pytest.raises(InputError, match="no study file"):
        load_study(tmp_path / "absent.toml")
