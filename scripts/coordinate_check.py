"""Coordinate check of muP: the size of a net's outputs after some steps of Adam, over widths of 64 to 2048.

With the standard parametrization, outputs grow with the width at a fixed learning rate. With muP they do not:
compare Yang et al. 2022 (Tensor Programs V, arXiv:2203.03466), appendix D.1. The net has two hidden layers and
learns scikit-learn's digits.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import initsearch

BASE, WIDTHS = 64, (64, 128, 256, 512, 1024, 2048)


def net(width: int) -> nn.Sequential:
    """64 pixels, two hidden layers, ten classes."""
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def output_size(
    width: int, images: Tensor, classes: Tensor, *, mup: bool, lr: float, steps: int, seed: int
) -> float:
    """The mean absolute output after some steps of Adam on all images."""
    model = net(width)
    if mup:
        table = initsearch.mup(model, net(BASE))
        table.plan("he_normal").apply(model, seed=seed)
        optimizer = torch.optim.Adam(table.parameter_groups(model, lr))
    else:
        initsearch.InitPlan.from_spec("he_normal").apply(model, seed=seed)
        optimizer = torch.optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(images), classes))
        optimizer.step()
    with torch.no_grad():
        return float(model(images).abs().mean())


def main() -> None:
    """Print a row for each width."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate at the base width")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two widths, one seed")
    settings = parser.parse_args()
    data = load_digits()
    images = torch.tensor(data.data[:256] / 16, dtype=torch.float32)
    classes = torch.tensor(data.target[:256])
    widths, seeds = ((64, 512), 1) if settings.quick else (WIDTHS, settings.seeds)
    print(f"mean |output| after {settings.steps} steps of Adam at {settings.lr:g}, {seeds} seeds")
    print(f"{'width':>6}  {'standard':>9}  {'muP':>9}")
    for width in widths:
        means = [
            sum(
                output_size(
                    width, images, classes, mup=mup, lr=settings.lr, steps=settings.steps, seed=seed
                )
                for seed in range(seeds)
            )
            / seeds
            for mup in (False, True)
        ]
        print(f"{width:>6}  {means[0]:>9.3f}  {means[1]:>9.3f}", flush=True)


if __name__ == "__main__":
    main()
