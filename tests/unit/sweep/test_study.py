"""Study files: what is accepted, and how mistakes are reported."""

import dataclasses
from pathlib import Path

import pytest

from hyena.errors import InputError
from hyena.model.config import PUBLISHED
from hyena.training.pretraining import PretrainingConfig
from sweep.pretrainings import PretrainingId
from sweep.study import Pretraining, load_study
from tests.support.places import ROOT

STUDIES = ROOT / "studies"
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


def test_missing_values_have_their_defaults(minimal: Path) -> None:
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


def test_integers_of_many_digits_are_accepted_as_rates(minimal: Path) -> None:
    assert load_study(minimal, (f"training.gradient_clip={10**25}",)).training["gradient_clip"] == 1e25
    with pytest.raises(InputError, match=r"gradient_clip = 1000+: it must be more than 0 and at most 1e\+38"):
        load_study(minimal, (f"training.gradient_clip={10**39}",))


def test_a_training_value_in_the_grid_is_an_axis(minimal: Path) -> None:
    study = load_study(minimal, ("grid.learning_rate=[1e-4, 6e-4]",))
    assert study.vary == {"learning_rate": (1e-4, 6e-4)}


def test_excluded_combinations_are_not_among_the_points(minimal: Path) -> None:
    grid = ("grid.epochs=[3, 50]", "grid.learning_rate=[1e-4, 6e-4]")
    rules = 'exclude=[{epochs=[50], init=["scratch"]}, {seeds=[2], learning_rate=[1e-4]}]'
    whole, less = load_study(minimal, grid), load_study(minimal, (*grid, rules))
    left_out = [point for point in whole.points() if point not in list(less.points())]
    assert len(list(whole.points())) == 2 * 2 * 2 * 2
    assert all(
        (point.epochs, point.init) == (50, "scratch") or (point.seed, point.varied) == (2, (1e-4,))
        for point in left_out
    )
    assert len(left_out) == 4 + 4 - 1
    assert less.resolved()["exclude"][0] == {"epochs": [50], "init": ["scratch"]}


def test_the_group_that_the_answer_is_about_is_among_the_planned_runs(minimal: Path) -> None:
    shares = ("grid.train_fraction=[0.2, 1]", "grid.batch_size=[64, 128]", "grid.reverse_complement=[0, 1]")
    study = load_study(minimal, (*shares, "analysis.group={train_fraction=1, batch_size=64}"))
    assert study.analysis.group == {"train_fraction": 1.0, "batch_size": 64}
    assert study.resolved()["analysis"] == {
        "margin": 0.5, "epochs": None, "group": {"train_fraction": 1, "batch_size": 64}, "looks": 1, "tau_scale": 2.0
    }  # fmt: skip
    for group, words in (
        ("{train_fraction=0.3}", r"analysis.group.train_fraction = 0.3: it must be one of \[0.2, 1.0\]"),
        ("{train_fraction=true}", "analysis.group.train_fraction = true: it must be one of"),
        ("{split_seed=0}", "analysis.group.split_seed = 0: it does not vary"),
    ):
        with pytest.raises(InputError, match=words):
            load_study(minimal, (*shares, f"analysis.group={group}"))
    excluded = "exclude=[{train_fraction=[0.2], batch_size=[64]}]"
    with pytest.raises(InputError, match=r"analysis.group = .*: \[\[exclude\]\] leaves out every run"):
        load_study(minimal, (*shares, excluded, "analysis.group={train_fraction=0.2, batch_size=64}"))


def test_a_study_that_pretrains_its_weights_accepts_no_others(minimal: Path) -> None:
    made = ('pretraining={corpus="synthetic", steps=1}',)
    load_study(minimal, made)
    with pytest.raises(InputError, match=r"the study makes its own weights in \[pretraining\]; keep one of the two"):
        load_study(minimal, (*made, "weights.revision=v2"))


def test_relative_paths_are_resolved_against_the_study_file(minimal: Path) -> None:
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
        ("grid.seeds=[1, 1]", "holds a value twice"),
        ('grid.models=["hyenadna-tiny-1k"]', "unknown model 'hyenadna-tiny-1k'; did you mean 'hyenadna-tiny-1k-seqlen"),
        (
            'grid.datasets=["human_enhancer_cohn"]',
            "unknown data set 'human_enhancer_cohn'; did you mean 'human_enhancers_cohn'?",
        ),
        ('grid.init=["scrath"]', "unknown init 'scrath'; did you mean 'scratch'?"),
        ('grid.seeds=["1"]', "grid.seeds.0 = '1': it must be an integer from -9223372036854775808 to"),
        ("training.learning_rate=-1", "training.learning_rate = -1: it must be more than 0 and at most 1e+38"),
        ("training.batch_size=1.5", "training.batch_size = 1.5: it must be an integer from 1 to 2147483647"),
        ("training.batch_size=10000000000", "training.batch_size = 10000000000: it must be from 1 to 2147483647"),
        ("training.weight_decay=nan", "training.weight_decay = nan: it must be from 0 to 1e+38"),
        ("training.gradient_clip=inf", "training.gradient_clip = inf: it must be more than 0"),
        ("grid.max_length=[100, 0]", "grid.max_length.1 = 0: it must be from 1 to 2147483647"),
        ("grid.learning_rate=[1e-3, 0.001]", "grid.learning_rate holds a value twice: 0.001"),
        ("grid.epochs=[3, 0]", "grid.epochs.1 = 0: it must be from 1 to 1000000"),
        ("grid.seeds=[9223372036854775808]", "grid.seeds.0 = 9223372036854775808: it must be from -92233720368547758"),
        ("split_seed=true", "split_seed = true: it must be an integer"),
        (
            'grid={models=["hyenadna-tiny-1k-seqlen"], datasets=["human_enhancers_cohn"], seeds=[1], epochs=[1],'
            ' batching=["like_length"], padding=["right", "left"]}',
            'grid: batching = "like_length": with padding = "left"',
        ),
        ("synthetic.genome_bases=1e5", "synthetic.genome_bases = 100000.0: it must be an integer from 10000 to"),
        (
            "synthetic={train_examples=1_000_000, sequence_length=10_000}",
            "synthetic: train_examples, test_examples and",
        ),
        ("analysis.margin=101", "analysis.margin = 101: it must be more than 0 and at most 100"),
        ("training.padding=up", "training.padding = 'up': it must be 'left' or 'right'"),
        ("training.epochs=3", "epochs are an axis"),
        ("models.m={d_model=8, n_layer=1}", "models.m: l_max is missing"),
        ("models.m={d_model=8, n_layer=1, l_max=9, emb_dim=4}", "models.m: emb_dim = 4: it must be odd"),
        (
            "models.m={d_model=8, n_layer=1, l_max=9, layer_norm_eps=-1}",
            "models.m.layer_norm_eps = -1: it must be more",
        ),
        (
            "models.m={d_model=8, n_layer=1, l_max=20_000_000}",
            "models.m.l_max = 20000000: it must be from 2 to 16777216",
        ),
        ("datasets.d={format=xml}", "datasets.d"),
        ("pretraining.steps=3", "corpus is missing"),
        ('pretraining={corpus=["none.fa"], steps=1}', "no file"),
        ("pretraining={corpus=[], steps=1}", "pretraining.corpus is empty"),
        (
            'pretraining={corpus="synthetic", steps=1, learning_rate=0}',
            "pretraining.learning_rate = 0: it must be more",
        ),
        (
            'pretraining={corpus="synthetic", steps=1, batch_size=100_000, length=100_000}',
            "a step would take 10000000000",
        ),
        ("pretraining={corpus=synthetic, steps=1}", "pretraining.length"),
        ("resources.cpus=0", "resources.cpus = 0: it must be from 1 to 4096"),
        ("resources.gpus=1.5", "resources.gpus = 1.5: it must be from 0 to 1"),
        ("resources.gpus=1e-9", "resources: gpus = 1e-09: it must be 0, or at least 0.001"),
        ("analysis.epochs=9", "analysis.epochs = 9: it must be one of [3]"),
        ("analysis.looks=0", "analysis.looks = 0: it must be from 1 to 100"),
        ("analysis.looks=1.5", "analysis.looks = 1.5: it must be an integer from 1 to 100"),
        ("analysis.tau_scale=0", "analysis.tau_scale = 0: it must be more than 0 and at most 100"),
        ("analysis.group=small", "analysis.group = 'small': it must be a table"),
        ("analysis.group={train_fractoin=1}", "analysis.group: unknown key 'train_fractoin'; did you mean 'train_frac"),
        ("analysis.group={train_fraction=1}", "analysis.group.train_fraction = 1: it does not vary in [grid]"),
        ("analysis.group={train_fraction=[1]}", "analysis.group.train_fraction = [1]: it must be true or false or an"),
        ("name=a/b", "name = 'a/b'"),
        ("exclude=[{seed=[1]}]", "exclude.0: unknown key 'seed'; did you mean 'seeds'?"),
        ("exclude=[{seeds=[3]}]", "exclude.0.seeds: 3 is not in [grid], so nothing is left out"),
        ("exclude=[{seeds=1}]", "exclude.0.seeds = 1: it must be a list"),
        ("exclude=[{}]", "exclude.0: it must be a table"),
        ("exclude={seeds=[1]}", "exclude must be a list of tables: [[exclude]]"),
        ("exclude=[{seeds=[1, 2]}]", "exclude: it leaves no run of the grid"),
        ("exclude=[{seeds=[1]}, {learning_rate=[1e-4]}]", "exclude.1: unknown key 'learning_rate'"),
        ("resources.gpus=some", "resources.gpus = 'some': it must be a number from 0 to 1 or 'auto'"),
        ("resources.runs_per_gpu=0", "runs_per_gpu = 0"),
        ("resources.price_per_hour=-1", "price_per_hour = -1"),
        ("weights.revison=main", "weights: unknown key 'revison'; did you mean 'revision'?"),
        ("weights.revision=3", "weights.revision = 3: it must be a string"),
        ('weights.revision=""', "weights.revision = '': it must not be empty"),
        ("weights=x", "weights must be a table: [weights]"),
        ("weights.paths.m=3", "weights.paths.m = 3: it must be a path, or a list of paths"),
        (
            'weights.paths.hyenadna-tiny-1k-seqln="x"',
            "weights.paths: unknown model 'hyenadna-tiny-1k-seqln'; did you mean 'hyenadna-tiny-1k-seqlen",
        ),
        ("models.hyenadna-tiny-1k-seqlen=3", "models.hyenadna-tiny-1k-seqlen must be a table"),
        ("keep_models=1", "keep_models = 1: it must be true or false"),
        ("keep_model=true", "unknown key 'keep_model'; did you mean 'keep_models'?"),
        ("nonsense", "--set nonsense: it must be KEY=VALUE"),
        ("grid..seeds=[1]", "--set grid..seeds=[1]: it must be KEY=VALUE"),
        ("=1", "--set =1: it must be KEY=VALUE"),
        ("name.first=x", "name = {'first': 'x'}: it must be a string"),
        ("grid.seeds.0=1", "--set grid.seeds.0=1: 'seeds' is not a table"),
        ("name=a\x1b[1m", "name = 'a\\x1b[1m': it must not hold line ends or other control characters"),
        (f"name={'a' * 101}", "...aaaaaaaa"),
        (
            "description=2026-01-01",
            "description = 2026-01-01: no key accepts a date or a time; a string needs quotes",
        ),
        ('datasets.d={format="csv", path=""}', "datasets.d.path = '': it must not be empty"),
        (
            'datasets.d={format="csv", path="~nobody_of_that_name/d"}',
            "datasets.d: path '~nobody_of_that_name/d': there is no",
        ),
        (
            'weights.paths.hyenadna-tiny-1k-seqlen="~nobody_of_that_name/d"',
            "weights.paths.hyenadna-tiny-1k-seqlen: path '~",
        ),
        (
            'pretraining={corpus=["~nobody_of_that_name/d"], steps=1}',
            "pretraining.corpus: path '~nobody_of_that_name/d': ",
        ),
        (f'datasets.d={{format="csv", path="{"d" * 300}"}}', "datasets.d.path: path 'ddd"),
        ('datasets.d={format="csv", label_column="a\\u0000b"}', "label_column = 'a\\x00b': it must not hold line ends"),
        ('datasets."../d"={format="csv"}', "datasets: the name '../d': it must have neither backslashes nor"),
        ('models."/d"={d_model=8, n_layer=1, l_max=9}', "models: the name '/d': it must have neither"),
        (f"grid.seeds={list(range(500_001))}", "grid: 1000002 combinations; it must be at most 1000000"),
    ],
)
def test_a_mistake_is_reported_in_one_line(minimal: Path, override: str, words: str) -> None:
    overrides: tuple[str, ...] = (override,)
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
    assert study.weights.paths == {"m": (minimal.parent / "made" / "m",)}
    assert study.resolved()["weights"] == {"revision": "v2", "paths": {"m": [str(minimal.parent / "made" / "m")]}}
    several = load_study(minimal, (*own, 'weights.paths.m=["a", "b"]', "grid.seeds=[1,2]"))
    assert several.weights.paths == {"m": (minimal.parent / "a", minimal.parent / "b")}
    assert load_study(minimal, own).resolved()["weights"] == {"revision": None, "paths": {}}


def test_pretrainings_are_those_from_which_a_run_starts(minimal: Path) -> None:
    models = ("models.m={d_model=8, n_layer=1, l_max=64}", 'grid.models=["m", "hyenadna-tiny-1k-seqlen"]')
    published = [PretrainingId(name, "published", None) for name in ("m", "hyenadna-tiny-1k-seqlen")]
    assert load_study(minimal, models).pretrainings == published
    rule = 'exclude=[{models=["m"], init=["pretrained"]}]'
    assert load_study(minimal, (*models, rule)).pretrainings == published[1:]
    assert load_study(minimal, (*models, 'grid.init=["scratch"]')).pretrainings == []
    listed = load_study(minimal, (*models, "grid.seeds=[1,2]", 'weights.paths.m=["a", "b"]'))
    assert listed.pretrainings == [*(PretrainingId("m", "files", place) for place in (1, 2)), published[1]]
    excluded = load_study(minimal, (*models, "grid.seeds=[1,2]", 'weights.paths.m=["a", "b"]', "exclude=[{seeds=[2]}]"))
    assert excluded.pretrainings == [PretrainingId("m", "files", 1), published[1]]


MADE = 'pretraining={{corpus="synthetic", steps=1, length=10, {}}}'


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (MADE.format("seed=5"), "pretraining: unknown key 'seed'; write seeds = [5]"),
        (MADE.format("seeds=[]"), "pretraining.seeds is empty: it must hold at least one value"),
        (MADE.format("seeds=[3, 4, 3]"), "pretraining.seeds holds a value twice: 3"),
        (MADE.format("seeds=[1, 9223372036854775808]"), "pretraining.seeds.1 = 9223372036854775808: it must be from"),
        (MADE.format("seeds=7"), "pretraining.seeds = 7: it must be a list"),
        (
            MADE.format("seeds=[1,2,3]"),
            "pretraining.seeds: 3 pretrainings for 2 seeds in grid.seeds, so some weights would not be used: give as "
            'many seeds, or set grid.design = "crossed"',
        ),
        ('weights.paths.m=["a", "b", "c"]', "weights.paths.m: 3 pretrainings for 2 seeds in grid.seeds"),
        ("weights.paths.m=[]", "weights: paths.m is empty: it must hold at least one value"),
        ('weights.paths.m=["a", "./a"]', "weights: paths.m holds a value twice: '"),
        ("weights.paths.m=[3]", "weights.paths.m.0 = 3: it must be a string"),
        ("grid.design=nestled", "grid.design = 'nestled': it must be 'nested' or 'crossed'"),
    ],
)
def test_a_mistake_in_the_pretrainings_is_reported_in_one_line(minimal: Path, override: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        load_study(minimal, ("models.m={d_model=8, n_layer=1, l_max=64}", 'grid.models=["m"]', "grid.seeds=[1,2]",
                             override))  # fmt: skip
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_pretrainings_without_a_run_need_no_seeds(minimal: Path) -> None:
    own = ("models.m={d_model=8, n_layer=1, l_max=64}", 'grid.models=["m"]', "grid.seeds=[1]")
    scratch = (*own, MADE.format("seeds=[1,2]"), 'grid.init=["scratch"]')
    assert load_study(minimal, scratch).pretrainings == []
    crossed = load_study(minimal, (*own, MADE.format("seeds=[1,2]"), "grid.design=crossed"))
    assert [one.seed for one in crossed.pretrainings] == [1, 2]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["hg38.fa.gz"], "hg38.fa.gz"),
        (["a.fa", "lab/b.fa"], "a.fa + b.fa"),
        (["a", "b", "c", "d", "e"], "a + b + c + 2 more"),
    ],
)
def test_a_corpus_is_named_after_its_files(files: list[str], name: str) -> None:
    assert (
        Pretraining(tuple(f"/genomes/{file}" for file in files), (0,), PretrainingConfig(steps=1)).corpus_name == name
    )


def test_a_published_size_may_change_values_that_leave_its_tensors_as_they_are(minimal: Path) -> None:
    name = "hyenadna-tiny-1k-seqlen"
    study = load_study(minimal, (f"models.{name}.checkpoint_activations=true", f"models.{name}.embed_dropout=0.2"))
    expected = dataclasses.replace(PUBLISHED[name], embed_dropout=0.2)
    assert study.model(name) == expected
    assert study.model(name).checkpoint_activations
    with pytest.raises(InputError, match=r"n_layer = 3, but the published size has 2; .* needs another name"):
        load_study(minimal, (f"models.{name}.n_layer=3",))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + MINIMAL.encode(),
        MINIMAL.replace("\n", "\r\n").encode(),
        MINIMAL.replace("\n", "\r").encode(),
    ],
    ids=["byte-order mark", "CRLF", "CR"],
)
def test_byte_order_marks_and_line_ends_change_nothing(minimal: Path, content: bytes) -> None:
    plain = load_study(minimal)
    minimal.write_bytes(content)
    assert load_study(minimal) == plain


DEEP = "[" * 2_000 + "]" * 2_000
BINARY = "not UTF-8 text (UTF-16 or binary); save it as UTF-8"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[grid\n", ": not a readable TOML file: Expected ']'"),
        (b"grid = 3\n", ": grid must be a table: [grid]"),
        (MINIMAL.encode("utf-16"), f": {BINARY}"),
        (MINIMAL.encode("utf-16-le"), f": {BINARY}"),
        (MINIMAL.encode("utf-32"), f": {BINARY}"),
        (b"name = 'x'\n# caf\xe9\n", ", line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (f"seeds = {DEEP}".encode(), ": lists or tables are nested more than 8 deep"),
        (b"a." * 2_000 + b"b = 1", ": a.a.a.a.a.a.a.a.a: lists or tables are nested more than 8 deep"),
        (
            b"split_seed = " + b"9" * 5_000,
            ": split_seed = <an integer of 5000 digits>: it must be from -9223372036854775808 to ",
        ),
        (b"split_seed = 0x" + b"f" * 5_000, ": split_seed = <an integer of 6021 digits>: it must be from"),
        (b"\n\nsplit_seed = " + b"9" * 100_001, ", line 3: a number of more than 100000 digits"),
        (b"#" * 10_000_001, ": not a study: it holds more than 10000000 bytes"),
        (b'"\\n" = 1', ": the study: the key '\\n': it must be printable, at most 100 bytes"),
    ],
)
def test_a_file_that_is_not_a_study_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    if content.startswith(b"split_seed"):
        path.write_bytes(content + MINIMAL.encode())
    with pytest.raises(InputError) as error:
        load_study(path)
    assert str(error.value).startswith(f"{path}{words}")
    assert len(str(error.value).splitlines()) == 1


def test_a_path_that_is_not_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no study file .*absent\.toml"):
        load_study(tmp_path / "absent.toml")
    with pytest.raises(InputError, match=": is a folder; name the TOML file in it"):
        load_study(tmp_path)
    with pytest.raises(InputError, match="File name too long"):
        load_study(tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="embedded null byte"):
        load_study(Path("a\0b"))


@pytest.mark.parametrize("value", [DEEP, "[" + "9" * 5_000 + "]"], ids=["nested 2,000 deep", "5,000 digits"])
def test_a_long_override_is_shortened_in_the_message(minimal: Path, value: str) -> None:
    with pytest.raises(InputError) as error:
        load_study(minimal, (f"grid.seeds={value}",))
    assert "grid.seeds" in str(error.value)
    assert len(str(error.value)) < 400


def test_keys_of_overrides_are_quoted_as_in_toml(minimal: Path) -> None:
    study = load_study(
        minimal,
        (
            'models."nano[/x]"={d_model=8, n_layer=1, l_max=64}',
            "models.'a=b'.d_model=16",
            "models . 'a=b' . n_layer = 1",
            "models.'a=b'.l_max=64",
            'grid.models=["nano[/x]", "a=b"]',
        ),
    )
    assert study.grid.models == ("nano[/x]", "a=b")
    assert [study.model(name).d_model for name in study.grid.models] == [8, 16]


def test_a_value_of_several_lines_is_one_string_and_adds_no_keys(minimal: Path) -> None:
    study = load_study(minimal, ("description=one\nsplit_seed = 3",))
    assert (study.description, study.split_seed) == ("one split_seed = 3", 0)


def test_a_description_is_shown_on_one_line(minimal: Path) -> None:
    minimal.write_text(f'description = """\nDoes  it\n    pay?\n"""\n{MINIMAL}')
    assert load_study(minimal).description == "Does  it pay?"
    assert load_study(minimal, ('description=""',)).description == ""


@pytest.mark.parametrize("name", ["lab/nano", "nano 2+", "größe", "LongSafari/hyenadna-x", "[bold]", "a.b:c"])
def test_names_that_users_have_are_accepted(minimal: Path, name: str) -> None:
    own = (f'models."{name}"={{d_model=8, n_layer=1, l_max=64}}', f'datasets."{name}"={{format="csv", path="x"}}')
    study = load_study(minimal, (*own, f'grid.models=["{name}"]', f'grid.datasets=["{name}"]'))
    assert (study.grid.models, study.grid.datasets) == ((name,), (name,))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, "slashes may separate its parts, as in lab/nano") for name in ("..", "a/../b", "/a", "a/", "a//b")),
        *((name, "neither backslashes nor leading or trailing spaces") for name in ("a\\\\b", " a", "a ", "")),
        *((name, "it must be printable, at most 100 bytes") for name in ("a\u00a0b", "a\u202eb", "ä" * 51)),
    ],
)
def test_names_that_cannot_be_part_of_a_path_are_refused(minimal: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"mine\.toml: models: the (name|key) .*: .*{words}"):
        load_study(minimal, (f'models."{name}"={{d_model=8, n_layer=1, l_max=64}}',))


def test_recipes_of_excluded_combinations_are_not_checked(minimal: Path) -> None:
    grid = ("grid.batching=[shuffled, like_length]".replace("shuffled, like_length", '"shuffled", "like_length"'),
            'grid.padding=["left", "right"]')  # fmt: skip
    with pytest.raises(InputError, match=r'mine\.toml: grid: batching = "like_length": with padding = "left"'):
        load_study(minimal, grid)
    rule = 'exclude=[{batching=["like_length"], padding=["left"]}]'
    assert len(list(load_study(minimal, (*grid, rule)).points())) == 3 * 2 * 2
