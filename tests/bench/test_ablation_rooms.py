"""Ablations of segmentation and of saliency: the same file, table and speed, with the figures of their rooms."""

import csv
import json

import pytest
import yaml

from volovan.bench.ablation import read_ablation
from volovan.bench.ablation_plot import draw_ablation
from volovan.bench.ablation_runs import plan
from volovan.bench.ablation_table import collect, decimals, markdown
from volovan.cli import main
from volovan.use.recipes import read_recipe
from volovan.use.rehearse import cost

TRUNK = {"embed_dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "mlp_ratios": [2, 2, 2, 2]}
EDN = {"widths": [8, 8, 8, 8, 8, 8], "extreme": 8, "units": 1}
BASES = {
    "segment": {
        "model": {"name": "van", "head": "fpn", "options": TRUNK, "head_options": {"channels": 8}},
        "augment": {"crop": 64},
    },
    "saliency": {"model": {"name": "van", "options": TRUNK, "head_options": EDN}, "data": {"size": 64}},
}
METRICS = {"segment": "miou", "saliency": "mae"}
WIDER = {"model.options.embed_dims": [8, 8, 8, 16]}
TRAIN = {"batch_size": 2, "workers": 0, "max_steps": 1, "tensorboard": False}


@pytest.fixture(params=BASES)
def room(request):
    return request.param


@pytest.fixture
def file(room, tmp_path):
    """An ablation file of two rows beside a tiny recipe of the room, its base."""
    recipe = {"task": room, **BASES[room], "train": TRAIN}
    recipe["data"] = {"source": "shapes:20@64x64", **recipe.get("data", {})}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    rows = [{"name": "narrow"}, {"name": "wide", "set": WIDER}]
    content = {"base": "tiny.yaml", "metric": METRICS[room], "seeds": [0], "rows": rows}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "rows.yaml"


def read_table(path):
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def test_table_of_a_room_has_the_cost_of_its_networks(room, file, tmp_path, capsys):
    assert main(["ablate", str(file), "--table-only", "--speed", "2", "--out", str(tmp_path / "out")]) == 0
    narrow, wide = read_table(tmp_path / "out" / "table.csv")
    classes = 10 if room == "segment" else 1
    for row, words in (
        (narrow, []),
        (wide, ["--model.options.embed_dims", json.dumps(WIDER["model.options.embed_dims"])]),
    ):
        want = cost(read_recipe(tmp_path / "tiny.yaml", words)[0], classes)
        assert (int(row["parameters"]), float(row["gmacs"])) == (want.parameters, want.gmacs)
        assert (row["height"], row["width"], row["seeds"], row[METRICS[room]]) == ("64", "64", "0", "")
        assert float(row["images_per_s"]) > 0
    assert int(wide["parameters"]) > int(narrow["parameters"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".volovan.jsonl",
        "plot.png",
        "speed.json",
        "table.csv",
        "table.md",
    ]
    assert "Not finished: 2 runs of narrow, wide." in capsys.readouterr().out


@pytest.mark.slow
def test_rows_of_a_room_are_trained(room, file, tmp_path):
    assert main(["ablate", str(file), "--rows", "wide", "--out", str(tmp_path / "out")]) == 0
    (row,) = read_table(tmp_path / "out" / "table.csv")
    trained = read_table(tmp_path / "out" / "wide" / "seed0" / "metrics.csv")[-1]
    assert float(row[METRICS[room]]) == float(trained[METRICS[room]])
    assert float(row["images_per_s"]) > 0


def test_metric_is_the_one_that_chooses_the_best_where_the_file_names_none(room, file):
    content = yaml.safe_load(file.read_text())
    del content["metric"]
    file.write_text(yaml.safe_dump(content))
    assert read_ablation(file).metric == {"segment": "miou", "saliency": "mae"}[room]


@pytest.mark.parametrize("more", [[], ["--table-only"]], ids=["training", "table"])
def test_metric_of_another_room_is_refused_before_any_run(room, file, tmp_path, capsys, more):
    file.write_text(file.read_text().replace(f"metric: {METRICS[room]}", "metric: top1"))
    assert main(["ablate", str(file), "--out", str(tmp_path / "out"), *more]) == 2
    said = capsys.readouterr().err
    assert "ablation rows, row 'narrow': metric is 'top1', but a run of this row has loss, m" in said
    assert f"name one of these, or leave it out for {METRICS[room]}" in said
    assert not (tmp_path / "out").exists()


def test_saliency_needs_no_data_to_count_its_cost(tmp_path):
    content = {
        "base": "duts_edn_van_b1",
        "metric": "mae",
        "rows": [{"name": "EDN", "set": {"data.source": "nowhere"}}],
    }
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(content))
    ablation = read_ablation(tmp_path / "rows.yaml")
    (result,) = collect(ablation, plan(ablation, ablation.rows, (0,), tmp_path / "out", {}))
    assert result.cost.parameters > 10**7


def test_shares_of_one_have_four_decimals(read_rows, make_run, tmp_path):
    """Two, which are enough in per cent, would make the same number of most results of saliency."""
    rows = [{"name": "A", "published": {"top1": 0.035}}, {"name": "B", "published": {"top1": 0.04}}]
    ablation = read_rows(rows, source="a paper", seeds=[0, 1], classes=10)
    jobs = plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})
    for job, value in zip(jobs, (0.0311, 0.0422, 0.0313, 0.0424), strict=True):
        make_run(job, [None, None, None, value])
    results = collect(ablation, jobs)
    assert decimals(results, "top1") == 4
    cells = [[cell.strip() for cell in line.split("|")] for line in markdown(ablation, results).splitlines()]
    lines = {line[1]: line[2:7] for line in cells if len(line) > 6}
    assert lines["A"] == ["0.0312", "0.0311 to 0.0313", "2", "reference", "0.035"]
    assert lines["B"] == ["0.0423", "0.0422 to 0.0424", "2", "+0.0111", "0.040"]
    assert draw_ablation(ablation, results, tmp_path / "plot.png").is_file()
