"""Table, statistics and picture of an ablation against hand-made runs."""

import csv
from dataclasses import replace

import pytest
from PIL import Image

from volovan.bench.ablate import update_page
from volovan.bench.ablation_plot import draw_ablation
from volovan.bench.ablation_runs import plan
from volovan.bench.ablation_table import (
    Order,
    collect,
    comma_separated,
    compare_order,
    difference,
    markdown,
    order_sentence,
    training_speed,
)
from volovan.cli import main
from volovan.engine.settings import SettingsError

# Ranges over the seeds: base 2, worse 1, near 1.
RUNS = {"base": [50.0, 52.0], "worse": [40.0, 41.0], "near": [52.0, 53.0], "single": [45.0], "none": []}
PUBLISHED = {"base": 80.0, "worse": 70.0, "near": 79.0, "none": 60.0}


@pytest.fixture
def table(read_rows, make_run, tmp_path):
    """(ablation, results): the hand-made runs above."""
    rows = [{"name": name, **({"published": {"top1": PUBLISHED[name]}} if name in PUBLISHED else {})} for name in RUNS]
    ablation = read_rows(rows, source="a paper", seeds=[0, 1], title="A title", classes=10)
    jobs = plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})
    for job in jobs:
        values = RUNS[job.row.name]
        if job.seed < len(values):
            make_run(job, [None, 10.0, None, values[job.seed]])
    return ablation, collect(ablation, jobs)


def test_mean_and_spread_are_those_of_the_finished_runs(table):
    _, results = table
    assert [result.mean for result in results] == [51.0, 40.5, 52.5, 45.0, None]
    assert [result.spread for result in results] == [2.0, 1.0, 1.0, None, None]
    assert [(len(result.values), result.asked) for result in results] == [(2, 2), (2, 2), (2, 2), (1, 2), (0, 2)]


def test_difference_is_called_inside_the_spread_only_up_to_it(table):
    _, results = table
    # near: 1.5 above, not larger than the range 2 of the base row; single: one seed, so no spread.
    assert [difference(result, results) for result in results] == [
        None,
        (-10.5, False),
        (1.5, True),
        (-6.0, None),
        None,
    ]


def test_difference_is_held_against_the_widest_row_since_seeds_may_agree_by_chance(read_rows, make_run, tmp_path):
    runs = {"A": (50.0, 50.0), "B": (53.0, 53.0), "C": (40.0, 43.5)}
    ablation = read_rows([{"name": name} for name in runs], seeds=[0, 1], classes=10)
    jobs = plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})
    for job in jobs:
        make_run(job, [0.0, 0.0, 0.0, runs[job.row.name][job.seed]])
    results = collect(ablation, jobs)
    assert [difference(result, results) for result in results] == [None, (3.0, True), (-8.25, False)]


def test_order_counts_pairs_with_runs_and_published_values(table):
    _, results = table
    # base > near > worse as published; here near > base, by less than the spread.
    assert compare_order(results, "top1") == Order(pairs=3, same=2, known=3, clear=2, clear_same=2)
    assert order_sentence(results, "top1") == (
        "Order: 2 of 3 pairs of rows stand as published; 2 of them differ by more than the spread, of these 2 stand as "
        "published."
    )


def test_order_says_nothing_where_chance_explains_all(table):
    _, results = table
    assert order_sentence([results[0], results[2]], "top1").endswith(
        "none of them differs by more than the spread, so this says nothing."
    )
    assert order_sentence(results[3:], "top1").startswith("Order: there are no two rows")
    single = replace(results[2], values={0: 60.0})
    assert order_sentence([results[0], results[1], single], "top1") == (
        "Order: 2 of 3 pairs of rows stand as published; 1 of the 1 with two seeds or more each differ by more than "
        "the spread, of these 1 stand as published."
    )


def test_speed_is_the_median_over_epochs_without_validation():
    epochs = [
        {"step": "10", "seconds": "5", "top1": ""},
        {"step": "20", "seconds": "15", "top1": ""},
        {"step": "30", "seconds": "95", "top1": "50"},  # validated: not counted
        {"step": "40", "seconds": "99", "top1": ""},
    ]
    assert training_speed(epochs, 8, "top1") == pytest.approx(16)  # of 16, 8 and 20
    assert training_speed(epochs[2:3], 8, "top1") == pytest.approx(30 * 8 / 95)


def test_markdown_has_a_line_per_row_and_says_what_is_missing(table):
    text = markdown(*table)
    lines = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    }
    assert lines["row"] == [
        "top1, mean",
        "lowest to highest",
        "seeds",
        "difference",
        "published top1",
        "parameters",
        "GMACs",
        "images/s",
    ]
    assert lines["base"][:5] == ["51.00", "50.00 to 52.00", "2", "reference", "80.0"]
    assert lines["near"][3] == "+1.50, inside the spread"
    assert lines["worse"][3] == "−10.50"
    assert lines["single"][2:5] == ["1 of 2", "−6.00, spread not known", "not published"]
    assert lines["none"][:4] == ["–", "–", "0 of 2", "–"]
    assert lines["base"][7] == "32"  # 2 steps of 32 pictures in 2 s
    assert "Published: a paper." in text
    assert "Not finished: 3 runs of single, none." in text


def test_csv_has_all_digits(table):
    rows = list(csv.DictReader(comma_separated(*table).splitlines()))
    assert [row["row"] for row in rows] == list(RUNS)
    assert rows[2]["values"] == "0: 52.0; 1: 53.0"
    assert (rows[2]["difference"], rows[2]["inside_spread"], rows[2]["published_top1"]) == ("1.5", "True", "79.0")
    assert rows[0]["parameters"] == str(table[1][0].cost.parameters)
    assert (rows[4]["top1"], rows[4]["lowest"]) == ("", "")


def test_cost_is_that_of_the_network_at_the_size_of_the_data(table):
    # A 7x7 stem, one block of width 8 and ratio 2 (VAN's closed form), LayerNorm, ten classes; 16 pixels, stride 4.
    C, r = 8, 2
    parameters = 49 * 3 * C + 3 * C + (3 + 2 * r) * C**2 + (86 + 11 * r) * C + 2 * C + C * 10 + 10
    assert {result.cost.parameters for result in table[1]} == {parameters}
    macs = 16 * (49 * 3 * C + (3 + 2 * r) * C**2 + (74 + 9 * r) * C) + C * 10
    assert table[1][0].cost.gmacs == pytest.approx(macs / 1e9)


def test_run_that_diverged_is_shown_and_the_other_rows_stand(read_rows, make_run, tmp_path):
    runs = {"A": (50.0, 52.0), "B": (53.0, "nan"), "C": (40.0, 41.0), "D": ("inf", "-inf")}
    ablation = read_rows(
        [{"name": name, "published": {"top1": 1}} for name in runs], seeds=[0, 1], source="s", classes=10
    )
    jobs = plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})
    for job in jobs:
        make_run(job, [0.0, 0.0, 0.0, runs[job.row.name][job.seed]])
    results = collect(ablation, jobs)
    text = markdown(ablation, results)
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:6]]
        for line in text.splitlines()
        if line.startswith("|")
    }
    assert cells["A"] == ["51.00", "50.00 to 52.00", "2", "reference"]
    assert cells["B"] == cells["D"] == ["not finite", "–", "2", "–"]
    assert cells["C"] == ["40.50", "40.00 to 41.00", "2", "−10.50"]
    assert "Not finite: top1 of “B” is 53.00 (seed 0), nan (seed 1); it is not compared." in text
    rows = list(csv.DictReader(comma_separated(ablation, results).splitlines()))
    assert [row["top1"] for row in rows] == ["51.0", "not finite", "40.5", "not finite"]
    assert (rows[1]["values"], rows[1]["lowest"], rows[1]["difference"]) == ("0: 53.0; 1: nan", "", "")
    assert draw_ablation(ablation, results, tmp_path / "plot.png").is_file()


def test_metric_that_a_run_lacks_is_named(read_rows, make_run, tmp_path):
    ablation = read_rows([{"name": "A"}], seeds=[0], metric="top9", classes=10)
    jobs = plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})
    make_run(jobs[0], [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(SettingsError, match=r"has no top9 in metrics.csv; it has epoch, step, loss, top1, seconds"):
        collect(ablation, jobs)


def test_metric_that_no_run_can_have_is_refused_with_those_there_are(read_rows, tmp_path):
    def collected(metric, classes=10, **more):
        ablation = read_rows([{"name": "A"}], seeds=[0], metric=metric, classes=classes, **more)
        return collect(ablation, plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {}))

    for metric in ("top1", "top5", "val_loss", "loss"):
        assert collected(metric)
    for metric, classes in (("top-1", 10), ("top5", 4), ("miou", 10)):
        with pytest.raises(SettingsError, match=f"row 'A': metric is '{metric}', but a run of this row has loss, top1"):
            collected(metric, classes)
    regression = {"loss.target": "regression", "augment.mixup": 0, "augment.cutmix": 0}
    assert collected("mae_height", 2, set=regression)  # of one of two targets


def test_classes_come_from_the_data_where_the_file_does_not_say(read_rows, tmp_path):
    ablation = read_rows([{"name": "A"}, {"name": "B", "set": {"data.source": "no-such-folder"}}], seeds=[0])
    first, second = plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})
    assert collect(ablation, [first])[0].cost.parameters == 1176 + 24 + 448 + 864 + 16 + 90
    with pytest.raises(SettingsError, match=r"number of classes is not known .*; add classes: NUMBER to the file"):
        collect(ablation, [second])


@pytest.mark.parametrize("published", [True, False], ids=["published", "not published"])
def test_plot_is_a_picture(table, tmp_path, published):
    ablation, results = table
    path = draw_ablation(ablation, results if published else results[3:4], tmp_path / "new" / "plot.png")
    with Image.open(path) as picture:
        width, height = picture.size
        assert len(set(picture.convert("L").resize((60, 40)).tobytes())) > 10  # something is drawn
    assert (width > 900) == published
    assert height > 150


def test_page_gets_table_and_plot_between_its_marks(table, tmp_path):
    ablation, results = table
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- ablation rows -->\nold\n<!-- /ablation -->\nafter\n"
        "<!-- ablation other -->\n\n<!-- /ablation -->\n"
    )
    for _ in range(2):  # the second time replaces the first
        update_page(page, ablation, markdown(ablation, results), tmp_path / "img" / "x.png")
    text = page.read_text()
    assert text.startswith("before\n<!-- ablation rows -->\n\n![A title](img/x.png)\n\n**A title**")
    assert text.endswith("<!-- /ablation -->\nafter\n<!-- ablation other -->\n\n<!-- /ablation -->\n")
    assert text.count("| near ") == 1
    assert "old" not in text
    page.write_text("no marks")
    with pytest.raises(SettingsError, match="put the lines <!-- ablation rows --> and <!-- /ablation --> where"):
        update_page(page, ablation, "text", tmp_path / "x.png")


def test_table_only_trains_nothing_and_writes_what_there_is(write_ablation, tmp_path, capsys):
    path = write_ablation([{"name": "A"}, {"name": "B"}], seeds=[3], needs={"labels.source": "maps"}, classes=10)
    out = tmp_path / "out"
    assert main(["ablate", str(path), "--out", str(out), "--table-only", "--rows", "b"]) == 0
    assert sorted(file.name for file in out.iterdir()) == [".volovan.jsonl", "plot.png", "table.csv", "table.md"]
    assert (out / "table.md").read_text() in capsys.readouterr().out
    assert "| A " not in (out / "table.md").read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no page {page} for the table; make the file, and put the lines <!-- ablation rows --> and"),
        (b"no marks", "{page} has no single place for the table; put the lines <!-- ablation rows --> and"),
        (b"\xff\xfe\xff", "page {page} cannot be read (it is not UTF-8 text)"),
    ],
    ids=["missing", "no marks", "no text"],
)
def test_page_without_a_place_is_refused_before_any_run(write_ablation, tmp_path, capsys, content, said):
    path, page = write_ablation([{"name": "A"}], seeds=[0], classes=10), tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    if content is not None:
        page.write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    assert main(["ablate", str(path), "--out", str(tmp_path / "out"), "--page", str(page)]) == 2
    message = capsys.readouterr().err
    assert said.format(page=page) in message
    assert message.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("there", ["out/table.md", "out/speed.json", "docs/img/ablation_rows.png"])
def test_files_of_the_user_are_not_written_over(write_ablation, tmp_path, capsys, there):
    path = write_ablation([{"name": "A"}], seeds=[0], classes=10)
    page, mine = tmp_path / "docs" / "page.md", tmp_path / there
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    page.parent.mkdir(exist_ok=True)
    page.write_text("<!-- ablation rows -->\n\n<!-- /ablation -->\n")
    words = ["ablate", str(path), "--out", str(tmp_path / "out"), "--page", str(page), "--table-only"]
    assert main(words) == 2
    assert "move it away" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    mine.rename(tmp_path / "mine")  # the remedy
    assert main(words) == main(words) == 0


def test_negative_seeds_are_refused_before_any_run(write_ablation, tmp_path, capsys):
    path, out = write_ablation([{"name": "A"}], seeds=[0], classes=10), tmp_path / "out"
    assert main(["ablate", str(path), "--out", str(out), "--seeds", "0", "-1"]) == 2
    assert "--seeds 0 -1: whole numbers from 0 on are expected" in capsys.readouterr().err
    assert not out.exists()


def test_speeds_are_measured_side_by_side_and_named_so(write_ablation, tmp_path, capsys):
    path = write_ablation(
        [{"name": "A"}, {"name": "B", "set": {"model.options.embed_dims": [64]}}], seeds=[0], classes=10
    )
    words = ["ablate", str(path), "--out", str(tmp_path / "out"), "--table-only"]
    assert main([*words, "--speed", "4"]) == 0
    assert main(words) == 0  # what was measured stays
    text = capsys.readouterr().out.split("|")
    assert "images/s: forward and backward pass of 4 random images, the rows in turn, median of 12; CPU" in text[-1]
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert float(rows[0]["images_per_s"]) > float(rows[1]["images_per_s"]) > 0
