"""The leakage section: shares of the study's own data sets, from the audits as they are written."""

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.leakage_section import leakage_table, section
from analysis.results import load
from tests.synthetic_results import Truth, write_results

TRUTH = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(1,))


def audit(folder, digest, *, count=30):
    (folder / "leakage").mkdir(exist_ok=True)
    rows = [
        {"dataset": "alpha", "digest": digest, "measure": measure, "k": k, "split": split, "against": against,
         "class": label, "partner_class": partner, "count": count, "of": 400}
        for measure, k in (("exact_duplicate", None), ("shared_kmer", 60))
        for split, against in (("test", "train"), ("train", "test"))
        for label in ("positive", "all")
        for partner in ("same", "other", "any")
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "leakage" / f"{digest}.parquet")


def test_shares_are_of_the_test_split_and_of_this_studys_data(tmp_path):
    folder = write_results(tmp_path, TRUTH, predictions=False)
    audit(folder, "digest-of-alpha")
    audit(folder, "digest-of-something-else", count=399)
    results = load(folder)
    found = leakage_table(results, [])
    assert set(found["split"]) == {"test"}
    assert set(found["digest"]) == {"digest-of-alpha"}
    page = section(results)
    assert page.count("7.5 %") == 3, "duplicates, stretches, and stretches of another class"
    assert "60 letters" in page
    assert "99.8 %" not in page


def test_without_an_audit_there_is_no_section_and_a_broken_one_is_named(tmp_path):
    folder = write_results(tmp_path, TRUTH, predictions=False)
    assert section(load(folder)) == ""
    (folder / "leakage").mkdir()
    (folder / "leakage" / "broken.parquet").write_bytes(b"PAR1")
    assert "leakage/broken.parquet" in section(load(folder))
