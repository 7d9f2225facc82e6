"""Where a study's pretrained weights come from: by path, by name, from a pretraining; and missing ones."""

from pathlib import Path

import pytest
import torch

from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Backbone, Classifier, initialise
from hyena.weights.checkpoint import load_backbone, save_weights
from sweep.pretrainings import PretrainingId
from sweep.run import main
from sweep.store import Store
from sweep.study import Study, load_study
from sweep.study_weights import known_keys, prepared_keys, require, stored
from tests.support.two_sizes import TWO_SIZES

SIZES = {"small": HyenaConfig(8, 1, 130), "large": HyenaConfig(8, 2, 130)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(TWO_SIZES)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))


def backbone(name: str, seed: int = 7) -> Backbone:
    model = Classifier(SIZES[name], 2)
    initialise(model, seed)
    return model.backbone


def saved(folder: Path, name: str, seed: int = 7) -> str:
    return save_weights(backbone(name, seed), SIZES[name], folder)


def study_with(path: Path, *overrides: str) -> Study:
    return load_study(path, overrides)


def test_weights_of_custom_sizes_are_found_by_name_and_by_path(path: Path, store: Store, tmp_path: Path) -> None:
    digests = {"small": saved(tmp_path / "weights" / "small", "small"), "large": saved(tmp_path / "made", "large")}
    study = study_with(path, 'weights.paths.large="made"')
    require(study, tmp_path / "weights")
    keys, notes = prepared_keys(study, store, tmp_path / "weights")
    small, large = PretrainingId("small", "published", None), PretrainingId("large", "files", 1)
    assert keys == {small: digests["small"][:16], large: digests["large"][:16]}
    paths = {small: tmp_path / "weights" / "small", large: tmp_path / "made"}
    assert notes == [
        {**vars(one), "key": keys[one], "path": str(paths[one]), "digest": digests[one.model]} for one in (small, large)
    ]
    assert known_keys(study, store, tmp_path / "weights") == (keys, {})
    for one, key in keys.items():
        assert load_backbone(Backbone(SIZES[one.model]), Path(store.root) / "weights" / key) == digests[one.model]


def test_each_file_of_a_list_is_a_pretraining(path: Path, store: Store, tmp_path: Path) -> None:
    digests = [saved(tmp_path / name, "small", seed) for seed, name in enumerate("ab")]
    study = study_with(path, 'grid.models=["small"]', "grid.seeds=[1, 2]", 'weights.paths.small=["a", "b"]')
    require(study, None)
    keys, notes = prepared_keys(study, store, None)
    assert keys == {PretrainingId("small", "files", place): digests[place - 1][:16] for place in (1, 2)}
    assert [note["path"] for note in notes] == [str(tmp_path / name) for name in "ab"]
    for key, digest in zip(keys.values(), digests, strict=True):
        assert load_backbone(Backbone(SIZES["small"]), Path(store.root) / "weights" / key) == digest


def test_equal_files_are_one_pretraining(path: Path, store: Store, tmp_path: Path) -> None:
    for name in "ab":
        saved(tmp_path / name, "small")
    study = study_with(path, 'grid.models=["small"]', "grid.seeds=[1, 2]", 'weights.paths.small=["a", "b"]')
    for keys in (prepared_keys, known_keys):
        with pytest.raises(InputError) as error:
            keys(study, store, None)
        assert str(error.value) == (
            f"weights.paths.small: {tmp_path / 'a'} and {tmp_path / 'b'} hold the same weights, which are one "
            "pretraining: keep one of them"
        )
    assert store.names("") == []


def test_a_path_precedes_a_name_and_the_format_does_not_matter(path: Path, store: Store, tmp_path: Path) -> None:
    study = study_with(path, 'grid.models=["small"]', 'weights.paths.small="small.pt"')
    torch.save({f"backbone.{name}": tensor for name, tensor in backbone("small").state_dict().items()},
               tmp_path / "small.pt")  # fmt: skip
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "small.pt").write_bytes(b"not these")
    keys, _ = prepared_keys(study, store, tmp_path / "weights")
    assert keys[study.pretrainings[0]] == saved(tmp_path / "again", "small")[:16]


@pytest.mark.parametrize(
    ("overrides", "weights_dir", "said"),
    [
        ((), True, "weights of large: the size is defined by the study: put them at {dir}/large, name them in "
                   "[weights.paths], or add a [pretraining] table"),
        ((), False, "weights of small: the size is defined by the study: give --weights a folder with 'small' in it"),
        (('weights.paths.large="nothing"',), True,
         "weights of large: [weights.paths] names {root}/nothing, which does not exist"),
    ],
)  # fmt: skip
def test_missing_weights_are_an_error_of_one_line_before_anything_starts(
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: tuple[str, ...],
    weights_dir: bool,
    said: str,
) -> None:
    saved(tmp_path / "weights" / "small", "small")
    words = [str(path), "--results", str(tmp_path / "results"), "--data", str(tmp_path / "data")]
    words += ["--weights", str(tmp_path / "weights")] if weights_dir else []
    words += [word for override in overrides for word in ("--set", override)]
    said = said.format(dir=tmp_path / "weights", root=tmp_path)
    # A data set that would have to be downloaded: the weights are checked first, so it is not downloaded.
    assert main([*words, "--set", 'grid.datasets=["human_enhancers_cohn"]']) == 2
    fault = capsys.readouterr().err
    assert fault.startswith(f"error: {said}")
    assert fault.count("\n") == 1
    assert not (tmp_path / "results").exists()

    assert main([*words, "--plan"]) == 0
    planned = capsys.readouterr().out
    assert f"missing    {said}" in planned
    assert ("missing    weights of small" in planned) == (not weights_dir)
    assert "4 planned, 0 done already, 4 to do" in planned


def test_only_models_whose_runs_take_weights_need_them(path: Path, store: Store, tmp_path: Path) -> None:
    saved(tmp_path / "weights" / "small", "small")
    with pytest.raises(InputError, match="weights of large"):
        require(study_with(path), tmp_path / "weights")
    study = study_with(path, 'exclude=[{models=["large"], init=["pretrained"]}]')
    require(study, tmp_path / "weights")
    assert {one.model for one in prepared_keys(study, store, tmp_path / "weights")[0]} == {"small"}
    scratch = study_with(path, 'grid.init=["scratch"]')
    require(scratch, None)
    assert prepared_keys(scratch, store, None) == ({}, [])
    assert known_keys(scratch, store, None) == ({}, {})


def test_weights_of_another_size_are_refused_by_name(path: Path, store: Store, tmp_path: Path) -> None:
    saved(tmp_path / "made", "large")
    study = study_with(path, 'grid.models=["small"]', 'weights.paths.small="made"')
    for keys in (prepared_keys, known_keys):
        with pytest.raises(InputError, match=r"made: not the weights of this model: .* are unexpected"):
            keys(study, store, None)


def test_weights_of_a_pretraining_are_missing_until_they_are_stored(path: Path, store: Store) -> None:
    study = study_with(path, 'pretraining={corpus="synthetic", steps=1, length=100}')
    require(study, None)
    keys, missing = known_keys(study, store, None)
    assert missing == dict.fromkeys(study.pretrainings, "would be pretrained")
    assert {one.model for one in missing} == {"small", "large"}
    assert prepared_keys(study, store, None) == (keys, [{**vars(one), "key": key} for one, key in keys.items()])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("spoilt", ["empty", "cut", "text"])
def test_damaged_weights_in_the_store_are_replaced(
    path: Path, store: Store, tmp_path: Path, name: str, spoilt: str
) -> None:
    saved(tmp_path / "weights" / "small", "small")
    study = study_with(path, 'grid.models=["small"]')
    (key,) = prepared_keys(study, store, tmp_path / "weights")[0].values()
    file = f"weights/{key}/{name}"
    whole = store.read(file)
    assert whole is not None
    assert stored(store, key)
    store.write(file, {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"hello"}[spoilt])
    assert not stored(store, key)
    prepared_keys(study, store, tmp_path / "weights")
    assert store.read(file) == whole
