"""volovan benchmark: what is timed computes the same, ratios follow from the rounds, files say what was measured."""

import json

import pytest
import torch
from torch.testing import assert_close

import volovan
from volovan.bench import machine, networks
from volovan.bench.contestants import PEERS, find_contestant, in_forms
from volovan.bench.networks import Entry, How, against
from volovan.bench.operations import depthwise, lka, measure_operations, outlook, usual_operations
from volovan.bench.timing import Ratio, quantile
from volovan.cli import main

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("ratios", "low", "high", "verdict"),
    [
        ([1.1, 1.3, 1.2], 1.1, 1.3, "too few rounds to tell"),  # fewer than six: the extremes
        ([0.5], 0.5, 0.5, "too few rounds to tell"),
        ([0.5, 0.6, 0.7, 0.8, 0.9, 0.95], 0.5, 0.95, "slower"),
        # of nine rounds the second from either end: 2 (1 + 9) / 512 = 3.9 %, the third would be 18 %
        ([0.5, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 9.0], 1.1, 1.7, "faster"),
        # of six the first: 2 / 64 = 3.1 %
        ([0.9, 1.1, 1.2, 1.3, 1.4, 1.5], 0.9, 1.5, "equal within the noise"),
    ],
)
def test_bounds_of_a_ratio_are_order_statistics(ratios, low, high, verdict):
    found = Ratio.of([2 * ratio for ratio in ratios], [2.0] * len(ratios))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.verdict == verdict
    assert found.low <= found.median <= found.high


def test_quantile_is_a_value_that_was_measured():
    assert quantile([5, 1, 4, 2, 3], 0.5) == 3
    assert quantile(list(range(1, 101)), 0.95) == 95
    assert quantile([7], 0.95) == 7


def test_every_variant_has_peers_that_exist():
    import timm

    assert set(PEERS) == set(volovan.list_models())
    for words in PEERS.values():
        for word in words:
            if word.startswith("timm:"):
                assert timm.is_model(word.removeprefix("timm:"))


@pytest.mark.parametrize("variant", ["van_b0", "volo_d1"])
def test_the_plain_formulation_computes_the_same(variant):
    torch.manual_seed(0)
    plain = find_contestant(f"plain:{variant}", (64, 64)).build(CPU)
    ours = volovan.create_model(variant, img_size=64).eval()
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(ours(images), plain(images), atol=1e-5, rtol=1e-4)


def test_the_plain_formulation_of_van_takes_no_backend_of_ours(monkeypatch):
    plain = find_contestant("plain:van_b0", (32, 32)).build(CPU)
    monkeypatch.setattr("volovan.models.van.depthwise_conv2d", None)
    monkeypatch.setattr("volovan.models.van.large_kernel_attention", None)
    with torch.no_grad():
        assert plain(torch.randn(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize("part", networks.PARTS)
def test_parts_do_what_they_say(part):
    entry = Entry(find_contestant("van_b0", (32, 32), classes=4), How(CPU, part, batch=3))
    calls, backward = [], []
    entry.model.register_forward_hook(lambda module, given, found: calls.append((len(given[0]), found.requires_grad)))
    entry.model.head.register_full_backward_hook(lambda *rest: backward.append(1))
    assert entry.run() == (1 if part == "latency" else 3)
    assert calls == [(1 if part == "latency" else 3, part == "train")]
    assert len(backward) == (part == "train")
    assert all(parameter.grad is None for parameter in entry.model.parameters())


def test_the_best_batch_is_where_doubling_gains_no_more(monkeypatch):
    now = [0.0]
    seconds = {1: 1.0, 2: 1.0, 4: 1.5, 8: 2.98, 16: 99.0}  # 8 gains less than 3 % over 4

    def run(self, images=None):
        now[0] += seconds[len(images)] / 2
        return len(images)

    monkeypatch.setattr(Entry, "run", run)
    monkeypatch.setattr(networks.time, "perf_counter", lambda: now[0])
    assert Entry(find_contestant("van_b0", (32, 32)), How(CPU, batch=None)).batch == 4


def test_a_batch_that_does_not_fit_ends_the_search(monkeypatch):
    def run(self, images=None):
        if len(images) > 2:
            raise torch.OutOfMemoryError
        return len(images) ** 9

    monkeypatch.setattr(Entry, "run", run)
    assert Entry(find_contestant("van_b0", (32, 32)), How(CPU, batch=None)).batch == 2


def test_ratios_are_taken_within_rounds():
    rows = [{"network": "a", "rates": [2.0, 30.0, 4.0]}, {"network": "b", "rates": [1.0, 10.0, 2.0]}]
    assert against(rows, "b") == [
        {"network": "a", "of_b": 2.0, "from": 2.0, "to": 3.0, "verdict": "too few rounds to tell"},
        {"network": "b", "of_b": 1.0, "from": 1.0, "to": 1.0, "verdict": ""},
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
def test_operations_stand_beside_plain_torch_and_the_roof(precision, backward, monkeypatch):
    monkeypatch.setattr("volovan.bench.operations.copy_speed", lambda device: 1e9)
    monkeypatch.setattr("volovan.bench.operations.peak_arithmetic", lambda device, dtype: 1e12)
    small = [outlook(1, 6, channels=12, heads=2), depthwise(1, 7, 4, 3, 2), lka(1, 7, 4)]
    rows = measure_operations(small, CPU, precision, 1, backward)
    assert {row["backend"] for row in rows} == {"plain", "cpu", "reference"}
    row = next(row for row in rows if row["operation"] == "depthwise 3x3 dilation 2 7x7x4")
    numbers = 4 * 49 * 2 + 4 * 9 + 4  # map and result, weight, bias
    traffic = numbers * (2 if precision == "bf16" else 4) * (3 if backward else 1)
    assert row["floor_ms"] == pytest.approx(1e3 * traffic / 1e9, abs=1e-3)
    assert row["flop_per_byte"] == pytest.approx(2 * 4 * 49 * 9 * (3 if backward else 1) / traffic, abs=0.01)


def test_a_backend_that_computes_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr("volovan.bench.operations.copy_speed", lambda device: 1e9)
    monkeypatch.setattr("volovan.bench.operations.peak_arithmetic", lambda device, dtype: 1e12)
    wrong = lka(1, 7, 4)
    object.__setattr__(wrong, "plain", lambda *given: given[0] + 1)
    with pytest.raises(AssertionError, match="LKA 7x7x4: backend cpu is off by"):
        measure_operations([wrong], CPU, "fp32", 1)


def test_usual_operations_are_those_of_the_networks():
    assert [operation.name for operation in usual_operations(8)][:3] == [
        "outlook 28x28x192", "outlook 56x56x192", "depthwise 5x5 56x56x64",
    ]  # fmt: skip
    assert outlook(1, 28).work == 14 * 14 * 81 * 192  # volo.md 1.1: windows, places by sources, channels


def test_speeds_of_the_machine_are_measured(monkeypatch):
    monkeypatch.setattr(machine, "COPIED", 1 << 12)
    monkeypatch.setattr(machine, "SIDE", {"cpu": 32})
    assert machine.copy_speed(CPU, repeats=1) > 0
    assert machine.peak_arithmetic(CPU, torch.float32, repeats=1) > 0


def test_energy_is_what_the_counters_say_or_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "POWERCAP", tmp_path)
    assert machine.Energy(CPU).joules() is None
    for zone, joules in (("intel-rapl:0", 3), ("intel-rapl:1", 4), ("intel-rapl:0:0", 99)):  # the last is a part
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{joules}000000\n")
    assert machine.Energy(CPU).joules() == 7
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("not a number")
    assert machine.Energy(CPU).joules() is None


@pytest.fixture
def quick(tmp_path, monkeypatch):
    monkeypatch.setattr("volovan.bench.operations.copy_speed", lambda device: 1e9)
    monkeypatch.setattr("volovan.bench.operations.peak_arithmetic", lambda device, dtype: 1e12)
    monkeypatch.setattr(
        "volovan.bench.benchmark.usual_operations", lambda batch: [outlook(batch, 6, channels=12, heads=2)]
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_what_it_measured(quick, capsys):
    words = "van_b0 ops --peers plain:van_b0 timm:resnet18 --batch 1 --size 32 --rounds 1 --part inference latency"
    assert main(["benchmark", *words.split()]) == 0
    said = capsys.readouterr().out
    assert "inference, fp32, 32x32; ratios to plain:van_b0" in said
    assert "too few rounds to tell" in said
    report = json.loads((quick / "benchmark" / "benchmark.json").read_text())
    assert {"torch", "machine", "threads", "instructions", "date"} <= set(report["machine"])
    rows = [(row["part"], row["network"]) for row in report["networks"]]
    names = ["van_b0", "van_b0 fused", "plain:van_b0", "timm:resnet18"]
    assert rows == [(part, name) for part in ("inference", "latency") for name in names]
    assert all(row["images_per_s"] > 0 for row in report["networks"])
    assert {row["backend"] for row in report["operations"]} == {"plain", "cpu", "reference"}
    for picture in ("accuracy.png", "roofline.png"):
        assert (quick / "benchmark" / picture).read_bytes().startswith(b"\x89PNG")
    assert main(["benchmark", *words.split()]) == 0  # its own results may be replaced


def test_layouts_are_those_of_pictures_and_weights(quick):
    for layout, format_ in (("nchw", torch.contiguous_format), ("channels-last", torch.channels_last)):
        (one,) = in_forms(find_contestant("timm:resnet18", (32, 32)), ("eager",), (layout,))
        entry = Entry(one, How(CPU, batch=2))
        assert one.name == f"timm:resnet18 {layout}"
        assert entry.images.is_contiguous(memory_format=format_)
        assert entry.model.conv1.weight.is_contiguous(memory_format=format_)
    words = "van_b0 --peers none --form eager --layout nchw channels-last --batch 1 --size 32 --rounds 1"
    assert main(["benchmark", *words.split()]) == 0
    report = json.loads((quick / "benchmark" / "benchmark.json").read_text())
    assert [row["network"] for row in report["networks"]] == ["van_b0 nchw", "van_b0 channels-last"]


def test_recipes_of_every_task_take_part(quick, capsys):
    words = "shapes_van --part train --form eager --batch 1 --rounds 1 --size 64"
    assert main(["benchmark", *words.split()]) == 0
    report = json.loads((quick / "benchmark" / "benchmark.json").read_text())
    assert [row["network"] for row in report["networks"]] == ["shapes_van"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["van_b9"], "no recipe 'van_b9'; did you mean van_b4?"),
        (["timm:resnet181"], "timm has no 'resnet181'"),
        (["plain:lvvit_t", "--peers", "none"], "LV-ViT is plain torch already"),
        (["van_b0", "--peers", "plain:van"], "'van' is no variant"),
        ([""], "a network is empty"),
        (["van_b0", "--batch", "many"], "--batch is many; give a number of pictures, or best"),
        (["van_b0", "--rounds", "0"], "--rounds is 0; at least 1 is needed"),
        (["van_b0", "--size", "3"], "--size 3: sides from"),
        (["van_b0", "--part", "train", "--form", "fused"], "--form fused is for inference"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_said_before_anything_is(words, said, quick, capsys):
    assert main(["benchmark", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(quick.iterdir())


def test_a_folder_of_the_user_is_refused_before_anything_is_timed(quick, capsys, monkeypatch):
    monkeypatch.setattr("volovan.bench.benchmark.measure_networks", None)
    (quick / "benchmark").mkdir()
    (quick / "benchmark" / "notes.txt").write_text("mine")
    assert main(["benchmark", "van_b0", "--peers", "none"]) == 2
    assert "benchmark holds notes.txt, which volovan has not written" in capsys.readouterr().err
    assert (quick / "benchmark" / "notes.txt").read_text() == "mine"
