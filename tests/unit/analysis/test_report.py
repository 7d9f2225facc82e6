"""The command: what it prints, writes and refuses; and what the page says of results that warrant little."""

import base64
import html
import io
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest

from analysis import report
from analysis.page.output import bundle
from analysis.results import ResultsFolder, load
from analysis.statistics.curves import curve_table
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from tests.support.synthetic_results import Truth, write_results

SMALL = Truth(models={"tiny": 1_000, "big": 10_000}, datasets={"alpha": 0.7, "beta": 0.8}, seeds=(1, 2, 3), epochs=(3,),
              test_examples=100)  # fmt: skip


def page_of(folder, tmp_path, capsys):
    """The page's visible text (scripts left out), its source, and what the command printed."""
    output = tmp_path / "page.html"
    code = report.main([str(folder), "-o", str(output)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "Traceback" not in printed.err
    source = output.read_text(encoding="utf-8")
    body = re.sub(r"<(script|style|pre)\b.*?</\1>", " ", source, flags=re.S)
    visible = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
    for wrong in ("nan", "inf", "None", "null", "Infinity"):
        assert not re.search(rf"(?<![\w.]){wrong}(?![\w])", visible), wrong
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', source, re.S).group(1), parse_constant=pytest.fail)
    assert list(tmp_path.glob(".*tmp")) == []
    return visible, source, payload, printed.out


def test_the_page_opens_with_the_headline_that_is_printed(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL)
    visible, source, payload, printed = page_of(folder, tmp_path, capsys)
    headline, path = printed.strip().splitlines()
    assert headline in visible
    assert path == str(tmp_path / "page.html")
    assert not re.search(r"https?://", json.dumps(payload))
    found = estimate(compare(load(folder)), 0.5)
    for key, one in (("overall-effect", found.overall), ("growth-effect", found.growth)):
        value = re.search(rf'<data value="([^"]+)" id="{key}"', source).group(1)
        assert float(value) == pytest.approx(one.effect, abs=1e-8)


def test_the_script_of_the_charts_is_made_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = bundle.__wrapped__()
    (kept,) = (tmp_path / "hyenadna-sweep" / "vega").iterdir()
    assert kept.suffix == ".js"
    assert "vegaEmbed" in made
    assert "</script" not in made
    monkeypatch.setattr("vl_convert.javascript_bundle", pytest.fail)
    assert bundle.__wrapped__() == made


def test_a_cache_that_cannot_be_written_costs_the_keeping_alone(tmp_path, monkeypatch):
    (tmp_path / "hyenadna-sweep").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "vegaEmbed" in bundle.__wrapped__()


@pytest.mark.parametrize("pretrainings", [1, 3])
def test_the_page_says_where_one_pretraining_stands_for_a_size(tmp_path, capsys, pretrainings):
    def of_a_seed(row):
        return {"weights_digest": f"weights-{row['seed'] % pretrainings}"} if row["init"] == "pretrained" else {}

    visible, _, _, _ = page_of(write_results(tmp_path / "results", SMALL, changes=of_a_seed), tmp_path, capsys)
    assert visible.count("All pretrained runs of a size start from the same weights") == (2 if pretrainings == 1 else 0)


def test_the_page_is_well_formed_and_has_landmarks(tmp_path, capsys):
    _, source, _, _ = page_of(write_results(tmp_path / "results", SMALL), tmp_path, capsys)
    void = {"meta", "link", "br", "path", "circle", "rect", "hr", "img"}

    class Checker(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open_tags, self.seen, self.identities = [], set(), []

        def handle_starttag(self, tag, attributes):
            self.seen.add(tag)
            self.identities += [value for name, value in attributes if name == "id"]
            if tag not in void:
                self.open_tags.append(tag)

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

        def handle_startendtag(self, tag, attributes):
            pass

    checker = Checker()
    checker.feed(source)
    assert checker.open_tags == []
    assert {"main", "nav", "header", "footer", "h1", "h2", "figure", "figcaption", "section"} <= checker.seen
    assert len(set(checker.identities)) == len(checker.identities)


def test_markup_in_data_stays_text(tmp_path, capsys):
    evil = "<script>alert(1)</script>&\"'"
    truth = Truth(
        models={f"tiny{evil}".replace("/", "|"): 1_000},
        datasets={evil.replace("/", "|"): 0.7},
        seeds=(1, 2),
        epochs=(2,),
    )
    folder = write_results(
        tmp_path / "results", truth, predictions=False, fails=lambda row: row["seed"] == 2,
        changes=lambda row: {"failure": evil, "host": evil, "device": evil} if row["seed"] == 2 else {},
    )  # fmt: skip
    (folder / "study.json").write_text(json.dumps({"name": evil, "description": evil, "more": evil}))
    visible, source, _, _ = page_of(folder, tmp_path, capsys)
    assert "alert(1)" in visible
    assert "<script>alert" not in source


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("no runs yet", {"missing": lambda row: True}, "No run has ended yet: 24 runs planned."),
        (
            "failed runs only",
            {"fails": lambda row: True},
            "There are no results: every run that ended has failed (24 of 24 planned).",
        ),
        ("one arm", {"missing": lambda row: row["init"] == "scratch"}, "Only the pretrained arm has results"),
        ("one seed", {"missing": lambda row: row["seed"] > 1}, "the spread between runs is unknown"),
        ("one data set", {"missing": lambda row: row["dataset"] == "beta"}, "the spread between data sets is unknown"),
        (
            "one size",
            {"missing": lambda row: row["model"] == "big"},
            "Only one model size has results, so growth with size cannot be estimated",
        ),
        (
            "no setting with both arms",
            {"missing": lambda row: (row["model"] == "big") == (row["init"] == "scratch")},
            "No setting has both a pretrained and a scratch run",
        ),
        (
            "one run in all",
            {"missing": lambda row: row["run_id"] != "tiny-alpha-3-0.0006-scratch-1"},
            "Only the scratch arm",
        ),
    ],
)
def test_what_cannot_be_concluded_is_said(name, options, says, tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL, **options)
    visible, _, _, printed = page_of(folder, tmp_path, capsys)
    assert says in visible, name
    if name in ("no runs yet", "failed runs only", "one arm", "no setting with both arms", "one run in all"):
        assert "95 % interval +" not in visible
        assert not re.search(r"[+−]\d", printed), "no effect is printed where none can be estimated"


def test_one_seed_gives_no_interval_for_these_data_sets(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL, missing=lambda row: row["seed"] > 1)
    visible, _, _, printed = page_of(folder, tmp_path, capsys)
    assert "95 % interval" not in printed
    assert "not estimable" in visible
    assert printed.startswith("It is too early to say whether pretraining helps: we observed ")
    assert "It is also too early to say whether the benefit grows" in printed


def test_failures_and_missing_runs_are_seen_with_their_reasons(tmp_path, capsys):
    folder = write_results(
        tmp_path / "results", SMALL, predictions=False,
        fails=lambda row: row["seed"] == 2 and row["model"] == "big" and row["init"] == "scratch",
        missing=lambda row: row["seed"] == 3 and row["dataset"] == "beta",
    )  # fmt: skip
    visible, source, _, _ = page_of(folder, tmp_path, capsys)
    assert "out of memory: 2.1 GiB asked for" in visible
    assert source.count('class="failed" title') == 2
    assert source.count('class="missing" title') == 4
    assert source.count('class="done" title') == 18


def test_a_truncated_file_is_named_on_the_page(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL)
    victim = sorted((folder / "runs").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:100])
    visible, *_ = page_of(folder, tmp_path, capsys)
    assert f"runs/{victim.name}" in visible
    assert "could not be used, and no number includes them" in visible


def test_runs_of_another_plan_are_mentioned(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL)
    plan = pl.read_parquet(folder / "plan.parquet").filter(pl.col("seed") < 3)
    plan.write_parquet(folder / "plan.parquet")
    visible, *_ = page_of(folder, tmp_path, capsys)
    assert "8 runs in the folder are not part of the present plan, and no number includes them" in visible


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "no such folder"),
        ([""], "an empty address; give a folder"),
        ([], "give either a results folder or --published"),
        (["somewhere", "--published", "badici2024"], "give either"),
        (["--published", "unheard"], "there is: badici2024"),
        (["--published", "badici2024", "-o", "no/such/folder/page.html"], "does not exist"),
    ],
)
def test_a_wrong_request_is_one_line_and_code_2(arguments, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert complaint in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_older_page_survives_a_request_that_fails(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL, changes=lambda row: {"schema_version": 7})
    page = tmp_path / "page.html"
    page.write_text("older")
    assert report.main([str(folder), "-o", str(page)]) == 2
    assert page.read_text() == "older"
    assert re.search(r"^error: runs/\S+\.parquet: written under version 7 ", capsys.readouterr().err)


def test_the_published_study_shows_its_numbers_and_its_faults(tmp_path, capsys):
    output = tmp_path / "page.html"
    assert report.main(["--published", "badici2024", "-o", str(output)]) == 0
    assert "−1.24" in capsys.readouterr().out
    source = html.unescape(output.read_text(encoding="utf-8"))
    for shown in (
        "[−2.01, −0.46]",
        "[−3.81, +1.33]",
        "assumed, not measured",
        "50-epoch runs",
        "unpaired",
        "no scratch",
        "+1.25 [+0.23, +2.27]",  # best epoch in a cell
        "−1.27 [−2.29, −0.24]",
        "marcobadici/hyenadna_pretraining_eval",
    ):
        assert shown in source


def test_a_page_of_500_runs_stays_under_3_megabytes(tmp_path, capsys):
    truth = Truth(
        models={f"size-{index}": 100_000 * 3**index for index in range(5)},
        datasets={f"data-{index}": 0.7 for index in range(5)},
        seeds=tuple(range(10)),
        epochs=(50,),
    )
    folder = write_results(tmp_path / "results", truth, predictions=False)
    _, source, payload, _ = page_of(folder, tmp_path, capsys)
    assert load(folder).runs.height == 500
    assert len(source.encode()) < 3_000_000
    assert len(payload["charts"]) > 25


def test_watching_follows_a_sweep_until_its_last_run(tmp_path, capsys, monkeypatch):
    folder = write_results(tmp_path / "results", SMALL, predictions=False)
    late = sorted((folder / "runs").iterdir())[-1]
    late.rename(tmp_path / late.name)
    page, seen = tmp_path / "page.html", []

    def sleep(seconds):
        """Instead of waiting: look at the page as it is, then let the last run land."""
        seen.append('"reload_s":5' in page.read_text(encoding="utf-8"))
        if len(seen) == 2:
            (tmp_path / late.name).rename(late)

    monkeypatch.setattr("analysis.report.time.sleep", sleep)
    assert report.main([str(folder), "-o", str(page), "--watch"]) == 0
    assert seen == [True, True]
    assert '"reload_s":null' in page.read_text(encoding="utf-8"), "the last page loads itself no more"
    printed = capsys.readouterr().out
    assert printed.count("pretraining hurts: ") == 2, "nothing is rewritten while nothing changes"


def test_watching_keeps_the_reference_and_outlasts_a_store_that_does_not_answer(tmp_path, capsys, monkeypatch):
    folder = write_results(tmp_path / "results", SMALL, predictions=False)
    late = sorted((folder / "runs").iterdir())[-1]
    late.rename(tmp_path / late.name)
    page, looks = tmp_path / "page.html", []
    whole = ResultsFolder.signature

    def signature(self):
        looks.append(self.uri)
        if len(looks) == 2:
            (tmp_path / late.name).rename(late)
            raise OSError("When listing objects: the network is unreachable")
        return whole(self)

    monkeypatch.setattr(ResultsFolder, "signature", signature)
    monkeypatch.setattr("analysis.report.time.sleep", lambda _: None)
    assert report.main([str(folder), "-o", str(page), "--watch", "--reference", "badici2024"]) == 0
    assert len(looks) == 3
    assert "the network is unreachable; retrying" in capsys.readouterr().err
    assert "[−3.28, +0.80]" in page.read_text(encoding="utf-8")


def test_an_answer_that_hangs_on_failed_runs_says_so(tmp_path, capsys):
    fails = lambda row: row["init"] == "pretrained" and row["seed"] == 1  # noqa: E731
    truth = replace(SMALL, benefit=lambda parameters, dataset: 4.0)
    visible, *_ = page_of(write_results(tmp_path / "some", truth, predictions=False, fails=fails), tmp_path, capsys)
    assert "Whether pretraining helps depends on the runs that failed, which are left out (helps)" in visible
    assert "failed runs counted at chance (4 pretrained, 0 scratch)" in visible
    whole, *_ = page_of(write_results(tmp_path / "none", truth, predictions=False), tmp_path, capsys)
    assert "depends on the runs that failed" not in whole


def test_an_answer_from_one_set_of_weights_is_conditional_on_it_and_says_what_would_overturn_it(tmp_path, capsys):
    truth = replace(SMALL, benefit=lambda parameters, dataset: 4.0)
    folder = write_results(tmp_path / "one", truth, predictions=False)
    visible, *_ = page_of(folder, tmp_path, capsys)
    tipping = estimate(compare(load(folder))).conditional.overall_tipping
    assert "With the pretrained weights used here, pretraining helps: " in visible
    assert f"overturned if pretrainings of a size differ by a standard deviation of more than {tipping:.2f}" in visible
    assert "does not extend to other pretrained weights of these sizes" in visible


def test_an_answer_over_several_pretrainings_says_how_many(tmp_path, capsys):
    def changes(row):
        weights = f"{row['model']} {row['seed']}" if row["init"] == "pretrained" else None
        return {"weights_digest": weights}

    truth = replace(SMALL, benefit=lambda parameters, dataset: 4.0)
    visible, *_ = page_of(
        write_results(tmp_path / "three", truth, predictions=False, changes=changes), tmp_path, capsys
    )
    assert "Over 3 pretrainings of each size, pretraining helps: " in visible
    assert "which are the unit of the intervals" in visible
    assert "other pretrained weights" not in visible
    assert "would overturn" not in visible


def test_data_sets_that_the_prior_did_not_expect_are_called_that(tmp_path, capsys):
    truth = replace(SMALL, benefit=lambda parameters, dataset: [0.0, 25.0][dataset])
    visible, *_ = page_of(write_results(tmp_path / "results", truth, predictions=False), tmp_path, capsys)
    assert "far above the scale of its prior (2)" in visible
    truth = replace(truth, analysis={"margin": 0.5, "tau_scale": 100.0})
    visible, *_ = page_of(write_results(tmp_path / "wide", truth, predictions=False), tmp_path, capsys)
    assert "far above" not in visible
    assert "Intervals that leave the figure continue beyond it" in visible


def test_nothing_unknown_is_listed_and_a_missing_interval_says_why(tmp_path, capsys):
    output = tmp_path / "page.html"
    assert report.main(["--published", "badici2024", "-o", str(output)]) == 0
    source = html.unescape(output.read_text(encoding="utf-8"))
    assert "50 epochs: no cell has both arms" in source
    assert "<dt>page written</dt>" in source
    assert "<dt>devices</dt>" not in source
    assert "SHA-256" not in source
    assert "Intervals that leave the figure" not in source


def test_a_store_that_cannot_be_listed_is_one_line(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL, predictions=False)
    shutil.rmtree(folder / "runs")
    (folder / "runs").write_text("a file stands where the runs should be")
    assert report.main([str(folder), "-o", str(tmp_path / "page.html")]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: results '{folder}': 'runs' in it is a file, where a folder is expected\n"


def test_an_interruption_of_watching_is_code_130(tmp_path, capsys, monkeypatch):
    folder = write_results(tmp_path / "results", SMALL, predictions=False, missing=lambda row: row["seed"] == 1)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.report.time.sleep", interrupt)
    page = tmp_path / "page.html"
    assert report.main([str(folder), "-o", str(page), "--watch"]) == 130
    assert '"reload_s":null' in page.read_text(encoding="utf-8"), "nobody follows any more"
    assert "16 runs of 24 done: " in capsys.readouterr().out


def test_a_published_study_can_stand_beside_ones_own(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL, predictions=False)
    page = tmp_path / "page.html"
    assert report.main([str(folder), "-o", str(page), "--reference", "badici2024"]) == 0
    source = page.read_text(encoding="utf-8")
    assert "[−3.28, +0.80]" in source
    assert report.main([str(folder), "-o", str(page), "--reference", "unheard"]) == 2
    assert "there is: badici2024" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == source


def test_confusion_matrices_name_the_classes_where_the_sweep_noted_them(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL)
    visible, source, *_ = page_of(folder, tmp_path, capsys)
    assert "Classes whose names were not recorded are numbered in sorted order" in visible
    study = json.loads((folder / "study.json").read_text())
    study["data"] = {"alpha": {"classes": ["decoy", "enhancer<i>"]}, "beta": {"classes": ["gene", "other"]}}
    (folder / "study.json").write_text(json.dumps(study))
    visible, source, *_ = page_of(folder, tmp_path, capsys)
    assert '<th scope="col">enhancer&lt;i&gt;</th>' in source
    assert '<th scope="row">decoy</th>' in source
    assert "numbered in sorted order" not in visible


def test_what_the_sweep_noted_of_its_data_is_on_the_page(tmp_path, capsys):
    folder = write_results(tmp_path / "results", SMALL)
    dataset = sorted(load(str(folder)).runs["dataset"])[0]
    study = json.loads((folder / "study.json").read_text())
    study["data"] = {dataset: {"notes": ["not the official <b>: 3 fewer"]}, "odd": {"notes": 3}, "odder": 1}
    (folder / "study.json").write_text(json.dumps(study))
    visible, source, _, _ = page_of(folder, tmp_path, capsys)
    assert f"{dataset}: not the official <b>: 3 fewer." in visible
    assert "<b>: 3 fewer" not in source


def offered(payload):
    """What can be taken away, by name."""
    return {one["name"]: one for one in payload["downloads"]}


def test_the_tables_can_be_taken_away(tmp_path, capsys):
    visible, _, payload, _ = page_of(write_results(tmp_path / "results", SMALL), tmp_path, capsys)
    found = offered(payload)
    assert list(found) == ["estimates.csv", "pairs.csv", "curves.csv", "runs.parquet"]
    assert found["curves.csv"]["what"] == "learning curves"
    assert "There is no pairs.csv" not in visible


def test_curves_of_very_many_rows_are_there_as_parquet(tmp_path, capsys, monkeypatch):
    folder = write_results(tmp_path / "results", SMALL)
    rows = curve_table(load(folder), compare(load(folder)))
    monkeypatch.setattr("analysis.statistics.run_tables.MOST_CSV_ROWS", rows.height - 1)
    _, _, payload, _ = page_of(folder, tmp_path, capsys)
    found = offered(payload)
    assert list(found) == ["estimates.csv", "pairs.csv", "curves.parquet", "runs.parquet"]
    assert found["curves.parquet"]["what"] == f"learning curves, as Parquet because of their {rows.height:,} rows"
    read = pl.read_parquet(io.BytesIO(base64.b64decode(found["curves.parquet"]["base64"])))
    assert read.columns == rows.drop("setting_id").columns
    for name in ("mean", "value"):
        assert read[name].is_null().equals(rows[name].is_null())
        assert read[name].drop_nulls().to_list() == pytest.approx(rows[name].drop_nulls().to_list(), rel=1e-6)


@pytest.mark.parametrize("shared", [0, 1])
def test_without_pairs_a_sentence_says_so(shared, tmp_path, capsys):
    """Seeds of the arms are others, but for one seed of one setting where `shared`."""

    def missing(row):
        lone = row["seed"] == 3 and row["dataset"] == "alpha" and row["model"] == "tiny" and shared
        return (row["seed"] <= 2) == (row["init"] == "scratch") and not lone

    visible, _, payload, _ = page_of(write_results(tmp_path / "results", SMALL, missing=missing), tmp_path, capsys)
    assert ("pairs.csv" in offered(payload)) == bool(shared)
    if shared:
        use = "each pair of runs and its difference (not used by the estimates, which compare the arms unpaired)"
        assert offered(payload)["pairs.csv"]["what"] == use
    else:
        assert "There is no pairs.csv, because no setting has a seed that is done in both arms." in visible


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("folder", "is a folder; expected the name of the page to write"),
        ("pipe", "is not a regular file; expected the name of the page to write"),
        ("nowhere/page.html", "the folder {tmp}/nowhere does not exist"),
        ("file/page.html", "the folder {tmp}/file does not exist"),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_page_that_cannot_be_written_is_told_before_anything_is_read(
    output, complaint, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("analysis.report.make", pytest.fail)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    assert report.main(["results", "-o", str(tmp_path / output)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert complaint.format(tmp=tmp_path) in printed.err.replace("File name", "file name")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("address", ["s3://bucket/page.html", "s3:/bucket/page.html"])
def test_a_page_is_not_written_to_an_address(address, capsys):
    assert report.main(["--published", "badici2024", "-o", address]) == 2
    assert "is a URL; give the name of a local file" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to_is_told_before(tmp_path, capsys, monkeypatch):
    def denied(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("analysis.report.make", pytest.fail)
    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    page = tmp_path / "page.html"
    assert report.main(["results", "-o", str(page)]) == 2
    assert capsys.readouterr().err == f"error: {page}: cannot be written (Permission denied)\n"


def test_a_page_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    assert report.main(["--published", "badici2024", "-o", str(tmp_path / "link.html")]) == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_names_of_any_letters_stay_what_they_are(tmp_path, capsys):
    names = {"study": "[bold]étude[/bold]", "model": "[x] Größe 1", "dataset": "=1+1 数据 {b}"}
    truth = Truth(models={names["model"]: 1_000}, datasets={names["dataset"]: 0.7}, seeds=(1, 2), epochs=(2,))
    folder = write_results(tmp_path / "results", truth, predictions=False)
    (folder / "study.json").write_text(json.dumps({"name": names["study"], "description": "a byte: \udce9"}))
    visible, _, payload, _ = page_of(folder, tmp_path, capsys)
    assert "a byte: \\udce9" in visible
    for name in names.values():
        assert name in visible.replace("\u200b", "")
    assert payload["choices"]["dataset"] == [names["dataset"]]
