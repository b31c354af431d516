"""Sharded models: two processes with gloo get, together, the values of one CPU, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from initsearch.plan import InitPlan

PROCESSES = 2
PLAN = {
    "rules": [
        {"where": {"activation": "relu"}, "weight": "he_uniform"},
        {"where": {"part": "query"}, "weight": "orthogonal"},
    ],
    "default": {"weight": "glorot_normal", "bias": "zeros"},
}


def build() -> nn.Module:
    """Packed attention, feed-forward layers, norms and an odd number of outputs."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(6, 16), encoder, nn.Linear(16, 5))


def shard(model: nn.Module) -> nn.Module:
    """Each layer of the encoder by itself, and the rest."""
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for block in model[1].layers:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def tensor_parallel(model: nn.Module) -> nn.Module:
    """The first layer's weight sharded by columns, as a `DTensor` outside of FSDP."""
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for name, parameter in list(model[0].named_parameters()):
        placement = [Shard(parameter.ndim - 1)]
        sharded = distribute_tensor(parameter.detach(), mesh, placement)
        model[0].register_parameter(name, nn.Parameter(sharded))
    return model


def in_process(rank: int, folder: str) -> None:
    """Fill models in each way, and save their gathered values and a forward pass."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    plan = InitPlan.from_spec(PLAN)
    filled: dict[str, Any] = {}
    model = shard(build())
    plan.apply(model, seed=5)
    filled["applied"] = model
    with torch.device("meta"):
        model = build()
    model = shard(model)
    plan.materialize(model, "cpu", seed=5)
    filled["materialized"] = model
    filled["columns"] = tensor_parallel(build())
    plan.apply(filled["columns"], seed=5)
    found = {}
    for way, model in filled.items():
        assert any(isinstance(each, DTensor) for each in model.parameters())
        found[way] = {
            name: value.full_tensor() if isinstance(value, DTensor) else value.detach()
            for name, value in model.named_parameters()
        }
    found["output"] = filled["materialized"].eval()(torch.ones(2, 3, 6)).detach()
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_sharded_models_get_the_values_of_one_cpu(tmp_path: Path) -> None:
    mp.spawn(in_process, (str(tmp_path),), nprocs=PROCESSES)
    expected = build()
    InitPlan.from_spec(PLAN).apply(expected, seed=5)
    for rank in range(PROCESSES):
        found = torch.load(tmp_path / f"{rank}.pt")
        for way in ("applied", "materialized", "columns"):
            assert set(found[way]) == {name for name, _ in expected.named_parameters()}
            for name, value in expected.named_parameters():
                assert torch.equal(found[way][name], value), (rank, way, name)
        assert torch.allclose(found["output"], expected.eval()(torch.ones(2, 3, 6)), atol=1e-5)
