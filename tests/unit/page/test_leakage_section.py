"""The leakage section: shares of the study's own data sets, from the audits as they are written."""

import gzip
import re

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.findings import gather
from analysis.page import leakage_section
from analysis.results import Results, load
from analysis.statistics.leakage import leakage_audits
from hyena.leakage.__main__ import main as leakage_command
from tests.support.synthetic_results import Truth, write_results

TRUTH = Truth(models={"tiny": 1_000}, datasets={"alpha": 0.7}, seeds=(1, 2), epochs=(1,))


def section(results: Results) -> str:
    return "".join(map(str, leakage_section.blocks(gather(results))))


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
    found = leakage_audits(results).rows
    assert set(found["split"]) == {"test"}
    assert set(found["digest"]) == {"digest-of-alpha"}
    page = section(results)
    assert page.count("7.5 %") == 3 * 2, "duplicates, stretches, and stretches of another class; in all and by class"
    assert '<th scope="row">alpha</th><td class="short">positive</td>' in page
    assert "60 nucleotides" in page
    assert "99.8 %" not in page


def test_without_an_audit_there_is_no_section_and_a_broken_one_is_named(tmp_path):
    folder = write_results(tmp_path, TRUTH, predictions=False)
    assert section(load(folder)) == ""
    (folder / "leakage").mkdir()
    (folder / "leakage" / "broken.parquet").write_bytes(b"PAR1")
    assert "leakage/broken.parquet" in section(load(folder))


def test_audits_by_place_on_the_genome_are_shown_as_the_command_writes_them(tmp_path):
    """From official-like interval lists through `python -m hyena.leakage` to the page, by the data set's name."""
    lists = {
        ("train", "negative"): "0,chr1,100,200\n1,chr1,500,600\n",
        ("train", "positive"): "0,chr1,300,400\n",
        ("test", "negative"): "0,chr1,150,250\n1,chr1,510,520\n2,chr2,100,200\n3,chr1,300,400\n",
        ("test", "positive"): "0,chr3,1,2\n",
    }
    for (split, label), rows in lists.items():
        place = tmp_path / "coordinates" / "alpha" / split
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{label}.csv.gz").write_bytes(gzip.compress(f"id,region,start,end\n{rows}".encode()))
    folder = write_results(tmp_path / "results", TRUTH, predictions=False)
    command = ["alpha", "--coordinates", str(tmp_path / "coordinates"), "--intervals-only"]
    assert leakage_command([*command, "-o", str(folder / "leakage" / "places.parquet")]) == 0
    page = section(load(folder))
    assert "By position on the genome" in page
    found = re.findall(r"<tr>(.*?)</tr>", page)
    shown = [re.sub(r"<[^>]+>", " ", row).split() for row in found]
    assert ["alpha", *["60.0", "%", "40.0", "%", "20.0", "%", "20.0", "%", "5"]] in shown
    assert ["alpha", "negative", *["75.0", "%", "50.0", "%", "25.0", "%", "25.0", "%", "4"]] in shown
    assert ["alpha", "positive", *["none", "none", "none", "none", "1"]] in shown
