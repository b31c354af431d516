"""`describe` as a whole: order, batches and guesses, wrappers, errors, and that nothing changes."""

import copy
import random
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from initsearch.errors import ModelError
from initsearch.layers import assign_, describe, read
from initsearch.layers.model import parameters


def sources(model: nn.Module, batch: Any = None) -> set[str]:
    return {s.activation_source for s in describe(model, batch) if s.category == "weight"}


class Touchy(nn.Module):
    """Changes what a forward pass can change."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.embedding = nn.Embedding(5, 4, max_norm=0.1)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("swapped", torch.ones(2))
        self.count = 0
        self.history: list[int] = []
        self.cache: dict[str, Tensor] = {}
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.history.append(self.count)
        self.cache["x"] = x
        self.late = x
        self.seen += 1
        self.swapped = self.swapped * 2
        noise = torch.rand(()) + random.random() + float(np.random.rand())
        y = self.norm(self.embedding(x)) + noise * 0
        return self.last(self.dropout(F.relu(self.spectral(y))))


def test_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = Touchy()
    model.train()
    model.norm.eval()
    calls: list[int] = []
    model.last.register_forward_hook(lambda *_: calls.append(1))
    gradient = torch.full_like(model.last.weight, 7.0)
    model.last.weight.grad = gradient
    model.last.bias.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    objects = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}
    hooks = {name: list(m._forward_hooks) for name, m in model.named_modules()}
    attributes = {name: set(m.__dict__) for name, m in model.named_modules()}
    modes = {name: m.training for name, m in model.named_modules()}
    random_states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()

    slots = describe(model, torch.tensor([0, 1, 2, 3]))

    assert {slot.activation for slot in slots if slot.name == "spectral.weight"} == {"relu"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert {n: id(v) for n, v in model.state_dict(keep_vars=True).items()} == objects
    assert model.last.weight.grad is gradient
    assert bool((gradient == 7).all())
    assert not model.last.bias.requires_grad
    assert model.embedding.weight.grad is None
    assert {name: list(m._forward_hooks) for name, m in model.named_modules()} == hooks
    assert all(not m._forward_pre_hooks for m in model.modules())
    assert {name: set(m.__dict__) for name, m in model.named_modules()} == attributes
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert (model.count, model.history, model.cache) == (0, [], {})
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert random.getstate() == random_states[1]
    assert np.random.get_state()[1].tolist() == random_states[2]


def test_it_is_left_as_it_was_when_the_forward_fails_too() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3), nn.Linear(5, 5))
    state = copy.deepcopy(model.state_dict())
    for train in (True, False):
        model.train(train)
        with pytest.raises(ModelError):
            describe(model, torch.randn(8, 4))
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert model.training is train
        assert all(not m._forward_hooks for m in model.modules())


def test_slots_come_in_execution_order() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(2, 2)
            self.last = nn.Linear(4, 3)
            self.norm = nn.LayerNorm(4)
            self.first = nn.Linear(4, 4)
            self.shift = nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.relu(self.norm(self.first(x)) + self.shift))

    slots = describe(Backwards(), torch.randn(2, 4))
    assert [slot.name for slot in slots] == [
        "first.weight",
        "first.bias",
        "norm.weight",
        "norm.bias",
        "shift",
        "last.weight",
        "last.bias",
        "unused.weight",
        "unused.bias",
    ]
    unused = slots[-1]
    assert (unused.activation, unused.activation_source) == (None, "unknown")
    assert unused.note == "not used in the forward pass"


def test_layers_that_run_only_in_training_mode_are_found() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.side = nn.Linear(4, 2)
            self.body = nn.Linear(4, 4)
            self.main = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Any:
            x = F.gelu(self.body(x))
            return (self.main(x), self.side(x)) if self.training else self.main(x)

    for train in (True, False):
        slots = {s.name: s for s in describe(Auxiliary().train(train), torch.randn(2, 4))}
        assert [slots[f"{name}.weight"].role for name in ("body", "main", "side")] == [
            "first",
            "head",
            "head",
        ]
        assert list(slots)[-2:] == ["side.weight", "side.bias"]


def test_a_training_pass_that_fails_is_reported() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Linear(4, 2)
            self.side = nn.Sequential(nn.Linear(5, 5), nn.ReLU())

        def forward(self, x: Tensor) -> Any:
            return (self.main(x), self.side(x)) if self.training else self.main(x)

    slots = {s.name: s for s in describe(Auxiliary(), torch.randn(2, 4))}
    side = slots["side.0.weight"]
    assert (side.activation, side.activation_source) == ("relu", "modules")
    assert "in training mode" in side.note
    assert (slots["main.weight"].activation_source, slots["main.weight"].note) == ("trace", "")


class Takes(nn.Module):
    """Two inputs, one of them optional or not."""

    def __init__(self, optional: bool) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)
        self.b = nn.Linear(5, 3)
        self.optional = optional

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        out = F.relu(self.a(x))
        if y is not None:
            out = out + torch.tanh(self.b(y))
        elif not self.optional:
            raise TypeError("y is needed")
        return out


Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("batch", "both"),
    [
        (torch.randn(6, 4), False),
        ((torch.randn(6, 4), torch.randn(6, 5)), True),
        ([torch.randn(6, 4), torch.randn(6, 5)], True),
        ({"x": torch.randn(6, 4), "y": torch.randn(6, 5)}, True),
        ({"x": torch.randn(6, 4), "label": torch.zeros(6)}, False),
        ((torch.randn(6, 4), torch.zeros(6, dtype=torch.long)), False),
        ([torch.randn(6, 4), torch.zeros(6)], False),
        ([torch.randn(6, 4)], False),
        (((torch.randn(6, 4), torch.randn(6, 5)), torch.zeros(6)), True),
        (({"x": torch.randn(6, 4), "y": torch.randn(6, 5)}, torch.zeros(6)), True),
    ],
)
def test_batches_of_all_forms(batch: Any, both: bool) -> None:
    found = {s.name: s.activation for s in describe(Takes(optional=True), batch)}
    assert found["a.weight"] == "relu"
    assert found["b.weight"] == ("tanh" if both else None)


def test_a_forward_with_star_args_gets_the_batch_one_by_one() -> None:
    class Any_(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)
            self.b = nn.Linear(5, 3)

        def forward(self, *inputs: Tensor, **more: Tensor) -> Tensor:
            x, y = inputs or (more["x"], more["y"])
            return F.relu(self.a(x)) + torch.tanh(self.b(y))

    x, y = torch.randn(6, 4), torch.randn(6, 5)
    for batch in ((x, y), {"x": x, "y": y}):
        found = {s.name: s.activation for s in describe(Any_(), batch)}
        assert (found["a.weight"], found["b.weight"]) == ("relu", "tanh")


def test_packed_sequences_and_named_tuples_are_one_argument() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, batch_first=True)
            self.out = nn.Linear(6, 2)

        def forward(self, batch: Any) -> Any:
            packed = self.lstm(batch if isinstance(batch, PackedSequence) else batch.x)[0]
            return Pair(self.out(packed.data), packed)

    packed = pack_padded_sequence(torch.randn(3, 5, 4), torch.tensor([5, 3, 2]), batch_first=True)
    for batch in (packed, Pair(packed, None)):
        found = {s.name: (s.activation, s.role) for s in describe(Tagger(), batch)}
        assert found["lstm.weight_ih_l0"] == ("gates", "first")
        assert found["out.weight"] == ("none", "head")


def test_outputs_of_dataclasses() -> None:
    @dataclass
    class Output:
        loss: Tensor | None
        logits: Tensor

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Output:
            return Output(None, self.a(x))

    slot = describe(Model(), torch.randn(2, 4))[0]
    assert (slot.role, slot.activation) == ("head", "none")


def test_a_model_that_takes_one_sequence_gets_the_sequence() -> None:
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: list[Tensor]) -> Tensor:
            assert isinstance(images, list)
            return F.relu(self.conv(torch.stack(images)))

    images = [torch.randn(3, 8, 8), torch.randn(3, 8, 8)]
    assert describe(Images(), images)[0].activation == "relu"


def test_a_batch_that_fails_is_an_error_with_cause_and_remedy() -> None:
    with pytest.raises(
        ModelError, match=r"batch must be one that Sequential accepts.*shapes"
    ) as caught:
        describe(nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 5))
    assert "pass what you would call the model with" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_model_that_needs_the_whole_batch_gets_it() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.a(x)).view(8, 2, 2)

    assert describe(Fixed(), torch.randn(8, 4))[0].activation == "tanh"


class Conv(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.fc = nn.Linear(2 * side * side, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.silu(self.conv(x)).flatten(1))


class Hinted(nn.Module):
    def __init__(self, example: Any) -> None:
        super().__init__()
        self.example_input_array = example
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.sin(self.a(x + y[:, :1]))


def sized(model: nn.Module, **hints: Any) -> nn.Module:
    for name, value in hints.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 2)),
        Conv(28),
        Conv(32),
        nn.Sequential(nn.Conv1d(3, 4, 9, stride=4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)),
        nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU()),
        nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)),
        nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2)),
        nn.Sequential(nn.EmbeddingBag(30, 4), nn.Linear(4, 2)),
        nn.GRU(4, 3, batch_first=True),
        nn.LSTMCell(4, 3),
        nn.Bilinear(4, 4, 2),
        nn.TransformerEncoderLayer(8, 2, 8),
        nn.Transformer(8, 2, 1, 1, 8, batch_first=True),
        Hinted((torch.randn(2, 4), torch.randn(2, 7))),
        sized(Conv(40), image_size=40),
        sized(Conv(44), img_size=(44, 44)),
        sized(Conv(52), default_cfg={"input_size": (1, 52, 52)}),
    ],
)
def test_inputs_are_guessed(model: nn.Module) -> None:
    if isinstance(model, nn.Sequential) and isinstance(model[-1], nn.LazyLinear):
        with torch.no_grad():
            model(torch.randn(2, 3, 64))
    assert sources(model) == {"trace"}
    assert all("order of modules" not in slot.note for slot in describe(model))


class Threes(nn.Module):
    """A module of unknown kind: what follows it is not known."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(3)


class Opaque(nn.Module):
    """No input can be guessed: it takes text."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.Conv2d(4, 4, 3),
            nn.Dropout(),
            nn.LeakyReLU(),
        )
        self.attention = nn.MultiheadAttention(4, 2)
        self.gru = nn.GRU(4, 4)
        self.fc1 = nn.Linear(4, 4)
        self.softmax = nn.Softmax2d()
        self.fc2 = nn.Linear(4, 2)
        self.own = Threes()

    def forward(self, text: str) -> Tensor:
        return self.fc2(torch.tanh(self.fc1(self.features(torch.zeros(len(text.upper()))))))


def test_without_an_input_the_order_of_modules_is_used() -> None:
    slots = {slot.name: slot for slot in describe(Opaque()) if slot.category == "weight"}
    assert {n: (s.activation, s.activation_source, s.role) for n, s in slots.items()} == {
        "features.0.weight": ("relu", "modules", "first"),
        "features.3.weight": ("none", "modules", "hidden"),
        "features.4.weight": ("leaky_relu", "modules", "hidden"),
        "attention.in_proj_weight": ("attention", "modules", "hidden"),
        "attention.out_proj.weight": (None, "unknown", "hidden"),
        "gru.weight_ih_l0": ("gates", "modules", "hidden"),
        "gru.weight_hh_l0": ("gates", "modules", "hidden"),
        "fc1.weight": ("softmax", "modules", "hidden"),
        "fc2.weight": (None, "unknown", "head"),
    }
    for slot in slots.values():
        assert "order of modules" in slot.note
        assert "pass a batch" in slot.note
    assert describe(nn.Sequential(nn.ReLU())) == []


def test_wrappers_change_no_name_and_no_result() -> None:
    def model() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())

    x = torch.randn(2, 1, 8, 8)
    plain = describe(model(), x)
    inner = model()
    inner[0] = torch.compile(inner[0])
    in_place = model()
    in_place[2].compile()
    for wrapped in (
        torch.compile(model()),
        nn.DataParallel(model()),
        torch.compile(nn.DataParallel(model())),
        inner,
        in_place,
    ):
        slots = describe(wrapped, x)
        assert [slot.name for slot in slots] == [slot.name for slot in plain]
        assert [s.activation for s in slots] == [s.activation for s in plain]
        assert [slot.stored_as for slot in slots] == [slot.stored_as for slot in plain]
        assign_(wrapped, slots[0], lambda view, *_: view.fill_(2.0))
        assert bool((read(wrapped, slots[0]) == 2.0).all())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_scripted_models_are_refused() -> None:
    scripted = torch.jit.trace(nn.Linear(2, 2), torch.randn(1, 2))
    for model in (scripted, nn.Sequential(nn.Linear(2, 2), scripted)):
        with pytest.raises(ModelError, match=r"TorchScript.*before torch.jit"):
            describe(model)


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_lazy_and_meta_parameters_are_refused() -> None:
    with pytest.raises(ModelError, match=r"LazyLinear.weight.*lazy.*run one batch"):
        describe(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(ModelError, match=r"Linear.weight.*meta.*to_empty"):
        describe(nn.Linear(2, 2, device="meta"))


def test_sharded_parameters_that_are_computed_are_refused(tmp_path: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = nn.Linear(4, 2)
        mesh = init_device_mesh("cpu", (1,))
        model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)]))
        nn.utils.parametrize.register_parametrization(model, "weight", nn.Identity())
        with pytest.raises(ModelError, match=r"Linear\.weight must be whole.*fully_shard"):
            describe(model)
    finally:
        dist.destroy_process_group()

    class FullyShardedDataParallel(nn.Sequential):  # the older kind, recognized by its name
        pass

    with pytest.raises(ModelError, match="before wrapping"):
        describe(FullyShardedDataParallel(nn.Linear(2, 2)))


def test_a_sparse_parameter_is_listed_beside_tied_ones() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    model.register_parameter("adjacency", nn.Parameter(torch.eye(4).to_sparse()))
    listed = [[site.name for site in each.sites] for each in parameters(model)]
    assert listed == [["adjacency"], ["0.weight", "1.weight"], ["0.bias"]]


def test_a_lightning_module_is_described_as_any_module() -> None:
    from lightning.pytorch import LightningModule

    class Lit(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 3), nn.ELU(), nn.Linear(3, 2))
            self.example_input_array = torch.randn(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    found = {s.name: s.activation for s in describe(Lit())}
    assert found["net.0.weight"] == "elu"
    batch = [torch.randn(8, 4), torch.zeros(8, dtype=torch.long)]
    assert {s.name: s.activation for s in describe(Lit(), batch)} == found


def test_checkpointed_layers_are_seen() -> None:
    from torch.utils.checkpoint import checkpoint

    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.b = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = checkpoint(self.a, x, use_reentrant=False)
            return self.b(F.relu(x))

    assert [s.activation for s in describe(Saving(), torch.randn(2, 4))[:1]] == ["relu"]
