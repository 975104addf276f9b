"""Points to heat maps and back: by hand, and by loops that read the formulas."""

import math

import pytest
import torch

from volovan.pose.heatmaps import Grid, gaussians, heat_loss, peaks, unflipped

SIZE = (24, 18)
EVERY = torch.tensor([True])


def one(x: float, y: float, coding: str = "plain", sigma: float = 2.0, shown: bool = True) -> tuple:
    places = torch.tensor([[x, y]], dtype=torch.float64)
    maps, learned = gaussians(places, torch.tensor([shown]), SIZE, sigma, coding)  # type: ignore[arg-type]
    return maps[0], bool(learned[0])


@pytest.mark.parametrize("coding", ["plain", "dark"])
@pytest.mark.parametrize("place", [(7.3, 11.8), (0.2, 0.0), (17.4, 23.4), (-3.0, 5.0)])
def test_gaussian_by_loops(coding: str, place: tuple[float, float]) -> None:
    x, y = place
    found, learned = one(x, y, coding)
    assert learned
    centre = (math.floor(x + 0.5), math.floor(y + 0.5))
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            if coding == "plain":
                away = (column - centre[0], row - centre[1])
                want = math.exp(-(away[0] ** 2 + away[1] ** 2) / 8) if max(map(abs, away)) <= 6 else 0.0
            else:
                want = math.exp(-((column - x) ** 2 + (row - y) ** 2) / 8)
            assert float(found[row, column]) == pytest.approx(want, abs=1e-7)


def test_the_peak_of_the_plain_coding_is_one_at_the_nearest_pixel() -> None:
    found, _ = one(7.49, 11.5)
    assert float(found.max()) == 1
    assert divmod(int(found.argmax()), SIZE[1]) == (12, 7)


@pytest.mark.parametrize(
    ("x", "y", "learned"), [(-7, 5, True), (-8, 5, False), (23, 5, True), (24, 5, False), (5, 30, False)]
)
def test_a_gaussian_outside_is_not_learned(x: float, y: float, learned: bool) -> None:
    """Published: unless mu - 3 sigma is beyond the map, or mu + 3 sigma + 1 before it."""
    found, said = one(x, y)
    assert said == learned
    if not learned:
        assert not found.any()


def test_a_point_that_is_not_known_is_not_learned() -> None:
    found, learned = one(5, 5, shown=False)
    assert not learned
    assert not found.any()


def test_loss_by_loops() -> None:
    torch.manual_seed(0)
    maps, targets = torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.rand(2, 3, 4, 5, dtype=torch.float64)
    maps.requires_grad_()
    learned = torch.tensor([[True, False, True], [False, False, True]])
    want = 0.0
    for image in range(2):
        for point in range(3):
            for row in range(4):
                for column in range(5):
                    error = float(maps.detach()[image, point, row, column] - targets[image, point, row, column])
                    want += learned[image, point].item() * error**2 / maps.numel()
    loss = heat_loss(maps, targets, learned)
    assert float(loss.detach()) == pytest.approx(want, rel=1e-12)
    assert torch.autograd.gradcheck(lambda maps: heat_loss(maps, targets, learned), (maps,))


def test_plain_reading_by_hand() -> None:
    """A quarter towards the larger neighbour in each direction, none where they are alike or at the edge."""
    maps = torch.zeros(1, 3, *SIZE)
    maps[0, 0, 10, 8], maps[0, 0, 10, 9], maps[0, 0, 9, 8] = 1.0, 0.6, 0.5
    maps[0, 1, 10, 8] = 0.7
    maps[0, 2, 1, 8], maps[0, 2, 1, 9] = 0.9, 0.8
    places, scores = peaks(maps, "plain")
    assert places[0].tolist() == [[8.25, 9.75], [8.0, 10.0], [8.0, 1.0]]
    assert scores[0].tolist() == pytest.approx([1.0, 0.7, 0.9])


@pytest.mark.parametrize("aligned", [False, True])
def test_dark_reads_back_what_it_wrote(aligned: bool) -> None:
    torch.manual_seed(0)
    grid, size = Grid(aligned), (64, 48)
    places = torch.rand(300, 2, dtype=torch.float64) * torch.tensor([140.0, 200.0]) + 26
    maps, learned = gaussians(grid.to_map(places), torch.ones(300, dtype=torch.bool), size, 2.0, "dark")
    assert learned.all()
    read, _ = peaks(maps[None].double(), "dark")
    assert (grid.to_picture(read[0]) - places).abs().max() < 0.05
    plain, _ = peaks(gaussians(grid.to_map(places), learned, size, 2.0, "plain")[0][None], "plain")
    errors = (grid.to_picture(plain[0]) - places).abs()
    assert errors.max() <= 2 + 1e-3  # half a pixel of the map
    assert errors.mean() > 0.5


def test_dark_by_loops() -> None:
    """The Taylor expansion around the maximum of the smoothed logarithm, pixel by pixel."""
    torch.manual_seed(1)
    places = torch.tensor([[8.3, 11.6]], dtype=torch.float64)
    maps = gaussians(places, EVERY, SIZE, 2.0, "dark")[0].double() + 0.01 * torch.rand(1, *SIZE, dtype=torch.float64)
    height, width = SIZE
    kernel = [math.exp(-((k - 5) ** 2) / 8) for k in range(11)]
    total = sum(kernel)
    smooth = [[0.0] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            for i in range(11):
                for j in range(11):
                    y, x = row + i - 5, column + j - 5
                    if 0 <= y < height and 0 <= x < width:
                        smooth[row][column] += kernel[i] * kernel[j] / total**2 * float(maps[0, y, x])
    largest = max(map(max, smooth))
    logs = [[math.log(max(value * float(maps.max()) / largest, 1e-10)) for value in row] for row in smooth]
    row, column = divmod(int(maps[0].argmax()), width)

    def at(across: int, down: int) -> float:
        return logs[row + down][column + across]

    dx, dy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    dxx, dyy = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4, (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
    dxy = (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1)) / 4
    bent = dxx * dyy - dxy**2
    want = [column - (dyy * dx - dxy * dy) / bent, row - (dxx * dy - dxy * dx) / bent]
    assert peaks(maps[None], "dark")[0][0, 0].tolist() == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("coding", ["plain", "dark"])
def test_flat_and_empty_maps_give_places_in_the_map(coding: str) -> None:
    for value in (0.0, 0.5, -1.0):
        places, _ = peaks(torch.full((2, 3, *SIZE), value), coding)  # type: ignore[arg-type]
        assert torch.isfinite(places).all()
        assert (places >= 0).all()
    assert peaks(torch.rand(1, 2, 1, 1), coding)[0].tolist() == [[[0, 0], [0, 0]]]  # type: ignore[arg-type]


def test_unflipped_by_hand() -> None:
    maps = torch.arange(8.0).view(1, 2, 1, 4)
    assert unflipped(maps, (1, 0), aligned=True).tolist() == [[[[7, 6, 5, 4]], [[3, 2, 1, 0]]]]
    assert unflipped(maps, (1, 0), aligned=False).tolist() == [[[[7, 7, 6, 5]], [[3, 3, 2, 1]]]]


@pytest.mark.parametrize("aligned", [False, True])
def test_maps_of_mirrored_pictures_fit(aligned: bool) -> None:
    """Turned back, the Gaussian of the mirrored place lies over that of the place; as published a quarter pixel off."""
    grid, size = Grid(aligned), (64, 48)
    place = torch.tensor([[83.0, 101.0]], dtype=torch.float64)
    mirrored = torch.tensor([[192 - 83.0, 101.0]], dtype=torch.float64)
    maps, _ = gaussians(grid.to_map(mirrored), EVERY, size, 2.0, "dark")
    read, _ = peaks(unflipped(maps[None].double(), (0,), aligned), "dark")
    off = float((read[0] - grid.to_map(place)).abs().max())
    assert off == pytest.approx(0.0 if aligned else 0.25, abs=0.02)
