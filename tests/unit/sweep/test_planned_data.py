"""Data sets of a plan: from this machine, from an earlier call, from official figures, or unknown."""

from pathlib import Path

import pytest

from hyena.data.catalogue import OFFICIAL
from hyena.data.datasets import load_dataset
from sweep.planned_data import PlannedData, Unknown, planned_data
from sweep.study import Study, load_study

STUDY = """
[grid]
models = ["hyenadna-tiny-1k-seqlen"]
datasets = ["synthetic_tracts", "human_ensembl_regulatory", "mine"]
init = ["scratch"]
seeds = [1]
epochs = [1]
[datasets.mine]
format = "csv"
path = "tables/mine"
[synthetic]
train_examples = 20
test_examples = 10
"""
NOTE = {
    "digest": "d" * 64, "classes": ["a", "b"], "train": 101, "validation": None, "test": 30, "longest": 222,
    "official": False, "notes": [],
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return load_study(path)


def known(found: dict[str, PlannedData | Unknown], name: str) -> PlannedData:
    data = found[name]
    assert isinstance(data, PlannedData)
    return data


def test_a_data_set_on_this_machine_is_read(study: Study, tmp_path: Path) -> None:
    data = known(planned_data(study, None, tmp_path), "synthetic_tracts")
    assert (data.here, data.source, data.missing, data.download) == (True, "", "", False)
    assert (data.facts.train_examples, data.facts.test_examples) == (20, 10)
    assert data.lengths_bp[-1] == data.facts.longest


def test_a_missing_official_data_set_has_the_official_figures(study: Study, tmp_path: Path) -> None:
    data = known(planned_data(study, None, tmp_path), "human_ensembl_regulatory")
    assert data.facts.classes == ("enhancer", "ocr", "promoter")
    assert data.facts.class_counts == (85_512, 69_902, 75_934)
    assert (data.facts.train_examples, data.facts.test_examples) == (231_348, 57_713)
    assert (data.facts.longest, data.facts.validation_examples) == (802, 0)
    assert data.lengths_bp == OFFICIAL["human_ensembl_regulatory"].lengths_bp
    assert data.facts.digest == "unknown-human_ensembl_regulatory"
    assert (data.source, data.missing, data.download) == (
        "official figures",
        "not on this machine, would be downloaded",
        True,
    )


def test_a_missing_data_set_of_the_user_is_unknown_with_its_path(study: Study, tmp_path: Path) -> None:
    place = tmp_path / "tables" / "mine"
    assert planned_data(study, None, tmp_path)["mine"] == Unknown(
        f"{place} does not exist; its runs are not in this plan's time, cost and bytes"
    )


def test_a_note_of_an_earlier_call_replaces_a_missing_data_set(study: Study, tmp_path: Path) -> None:
    found = planned_data(study, {"data": {"mine": NOTE}}, tmp_path)
    data = known(found, "mine")
    assert (data.facts.digest, data.facts.classes, data.facts.class_counts) == ("d" * 64, ("a", "b"), (50, 51))
    assert (data.facts.longest, data.facts.validation_examples, data.facts.test_examples) == (222, 0, 30)
    assert (data.lengths_bp, data.source) == ((222,) * 11, "from the notes of an earlier call")
    assert (data.missing, data.download) == (f"{tmp_path / 'tables' / 'mine'} does not exist", False)


def test_a_noted_official_data_set_has_its_digest_and_the_official_lengths(study: Study, tmp_path: Path) -> None:
    entry = OFFICIAL["human_ensembl_regulatory"]
    note = {**NOTE, "classes": list(entry.classes), "train": 231_348, "test": 57_713, "longest": 802, "official": True}
    data = known(
        planned_data(study, {"data": {"human_ensembl_regulatory": note}}, tmp_path), "human_ensembl_regulatory"
    )
    assert (data.facts.digest, data.lengths_bp, data.download) == ("d" * 64, entry.lengths_bp, True)
    assert data.facts.class_counts == (85_512, 69_902, 75_934)


@pytest.mark.parametrize("name", ["human_enhancers_cohn", "human_nontata_promoters"])
def test_bytes_of_an_archive_are_forecast_to_a_few_per_cent(shared_data: Path, tmp_path: Path, name: str) -> None:
    """The archives hold a part of the official data set in the official layout."""
    folder = shared_data / "genomic_benchmarks"
    dataset = load_dataset(name, None, folder, tmp_path)
    study = tmp_path / "study.toml"
    study.write_text(STUDY.replace("human_ensembl_regulatory", name))
    data = known(planned_data(load_study(study), None, folder), name)
    assert data.letters == sum(int(split.lengths.sum()) for split in dataset.splits.values())
    assert data.archive_bytes == pytest.approx((folder / f"{name}_v0.zip").stat().st_size, rel=0.02)
