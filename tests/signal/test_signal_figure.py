"""The figure: a histogram per layer on one scale, deviations over depth, verdicts as words."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from signal_nets import mlp, weights
from torch import nn

from initsearch.signal import SignalReport, diagnose
from initsearch.signal.measure import histogram
from initsearch.signal.scale import HistogramScale, common_scale, outline


def report_of(std: float, depth: int = 4, activation: type[nn.Module] = nn.ReLU) -> SignalReport:
    x = torch.randn(32, 20, generator=torch.Generator().manual_seed(0))
    return diagnose(mlp(64, depth, activation), x, plan={"name": "normal", "std": std})


def panels(figure: Figure) -> tuple[Axes, Axes]:
    shapes, deviations = figure.axes
    return shapes, deviations


def said(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_each_layer_has_a_shape_a_name_and_a_verdict() -> None:
    report = report_of(math.sqrt(2 / 64))
    figure = report.plot()
    shapes, deviations = panels(figure)
    assert len(shapes.collections) == len(report.rows)  # filled outlines
    assert [text.get_text() for text in shapes.texts] == ["0", "2", "4", "6", "8"]
    assert [text.get_text() for text in deviations.texts] == ["healthy"] * 5
    assert deviations.get_xscale() == "log"
    drawn = {str(line.get_label()): list(line.get_xdata()) for line in deviations.get_lines()}
    assert drawn["pre-activations"] == [row.pre_std for row in report.rows]
    assert drawn["gradient"] == [row.gradient_std for row in report.rows]
    top, bottom = sorted(deviations.get_ylim(), reverse=True)[::-1]
    assert deviations.get_ylim()[0] > deviations.get_ylim()[1], "the input is above"
    assert top < 0 < len(report.rows) - 1 < bottom
    assert shapes.get_ylim() == deviations.get_ylim()


@pytest.mark.parametrize(("std", "linear"), [(0.177, True), (1.0, False), (0.01, False)])
def test_layers_far_apart_share_a_logarithmic_scale(std: float, linear: bool) -> None:
    figure = report_of(std).plot()
    shapes, _ = panels(figure)
    assert ("logarithmic" not in shapes.get_xlabel()) is linear
    low, high = shapes.get_xlim()
    assert low == -high
    # Every outline is within the axes and wide enough to be visible.
    for shape in shapes.collections:
        box = shape.get_paths()[0].get_extents()
        assert low <= box.x0 < box.x1 <= high
        assert box.x1 - box.x0 > (high - low) / 60


def test_an_outline_is_the_histogram_on_the_scale() -> None:
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    shape = histogram(values)
    assert shape is not None
    x, y = outline(shape, HistogramScale(limit=6.0, unit=None))
    density = [math.exp(-a * a / 2) for a in x]
    assert max(abs(a - b) for a, b in zip(y, density, strict=True)) < 0.08
    # On a logarithmic scale the density is that of asinh(x / unit).
    scale = HistogramScale(limit=6.0, unit=0.01)
    x, y = outline(shape, scale)
    density = [math.exp(-(scale.value(a) ** 2) / 2) * math.cosh(a) for a in x]
    top = max(density)
    assert max(abs(a - b / top) for a, b in zip(y[1:-1], density[1:-1], strict=True)) < 0.1


def test_the_scale_s_ticks_are_round_and_symmetric() -> None:
    for scale in (
        HistogramScale(7.3, None),
        HistogramScale(0.004, None),
        HistogramScale(3e5, 0.2),
        HistogramScale(1.0, 1e-30),
    ):
        ticks = scale.ticks()
        assert 3 <= len(ticks) <= 11
        assert ticks == sorted(ticks)
        assert [-tick for tick in reversed(ticks)] == pytest.approx(ticks)
        assert 0.0 in ticks
        assert max(ticks) <= scale.limit
        for tick in ticks:
            assert scale.value(scale.position(tick)) == pytest.approx(tick)
    assert HistogramScale(3e5, 0.2).label(-1e4) == "$-10^{4}$"
    assert common_scale([], []).linear


def test_constant_unseen_and_broken_layers_are_drawn() -> None:
    x = torch.randn(16, 20, generator=torch.Generator().manual_seed(0))
    zeros = mlp(8, 2)
    for layer in weights(zeros):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    figure = diagnose(zeros, x).plot()
    assert said(figure).count("dead") == 2
    assert any("no_gradient" in text.get_text() for text in figure.texts)
    broken = mlp(8, 2)
    nn.init.constant_(broken[2].bias, math.nan)
    assert "not finite" in said(diagnose(broken, x).plot())
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert "not seen" in said(diagnose(attention, torch.randn(4, 5, 8)).plot())


def test_sixty_layers_and_long_names_keep_clear_of_each_other(tmp_path) -> None:
    model = nn.Sequential()
    model.add_module("a_very_long_name_of_a_container_" * 2, mlp(16, 60))
    report = diagnose(model, torch.randn(16, 20))
    figure = report.plot()
    figure.savefig(tmp_path / "signal.png")
    assert (tmp_path / "signal.png").stat().st_size > 10_000
    width, height = figure.get_size_inches()
    assert height < 14
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert all(box.x0 >= 0 and box.x1 <= width * figure.dpi for box in boxes)
        for above, below in itertools.pairwise(boxes):
            assert below.y1 <= above.y0 + 2


@pytest.mark.slow
def test_pyplot_is_not_touched() -> None:
    code = (
        "import sys, torch; from initsearch.signal import diagnose;"
        "report = diagnose(torch.nn.Linear(4, 3), torch.randn(8, 4));"
        "assert 'matplotlib' not in sys.modules and 'pandas' not in sys.modules;"
        "report.plot(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
