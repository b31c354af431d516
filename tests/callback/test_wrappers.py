"""Wrapped modules: parameters have the names, and so the draws, that they have without the wrapper."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from initsearch import InitPlan
from initsearch.errors import ModelError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def in_fabric(module: nn.Module) -> Any:
    return lightning.Fabric(accelerator="cpu", devices=1).setup(module)


def in_fabric_twice(module: nn.Module) -> Any:
    """A module with a part that was set up by itself."""
    return nn.Sequential(*in_fabric(module).module)


WRAPPERS = [in_fabric, in_fabric_twice, DistributedDataParallel, torch.compile, nn.DataParallel]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_module_draws_the_same(wrap: Any, group: None) -> None:
    alone, inside = net(), net()
    wrapped = wrap(inside)
    reports = [InitPlan.from_spec("he_normal").apply(each, seed=4) for each in (alone, wrapped)]
    names = [[row.parameter for row in report.rows] for report in reports]
    assert names[0] == names[1] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(
        torch.equal(one, other)
        for one, other in zip(alone.parameters(), inside.parameters(), strict=True)
    )


def test_a_lightning_module_in_fabric_is_a_lightning_module() -> None:
    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: torch.Tensor) -> torch.Tensor:
            return self.net(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Lit()
    fabric = lightning.Fabric(accelerator="cpu", devices=1)
    wrapped, _ = fabric.setup(module, module.configure_optimizers())
    plan = InitPlan.from_spec({"rules": [{"where": {"activation": "relu"}, "weight": "ones"}]})
    other = copy.deepcopy(module)
    plan.apply(wrapped, batch=torch.randn(4, 6))
    plan.apply(other, batch=torch.randn(4, 6))
    assert bool((module.net[0].weight == 1).all())
    assert bool((other.net[0].weight == 1).all())


@pytest.mark.filterwarnings("ignore:FSDP is switching to use:UserWarning")
@pytest.mark.filterwarnings("ignore:FSDP will not all-gather:UserWarning")
def test_sharded_parameters_are_refused_with_the_remedy(group: None) -> None:
    sharded = FullyShardedDataParallel(net(), device_id=torch.device("cpu"))
    with pytest.raises(ModelError, match=r"initialize it before wrapping") as raised:
        InitPlan.from_spec("he_normal").apply(sharded)
    assert "\n" not in str(raised.value)
