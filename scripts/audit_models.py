"""What published models are drawn from: `identify` on small configurations, compared with their sources.

For each model, the truth is a list of name patterns with the initializers that its source code calls, read in
torchvision, timm and transformers; the first pattern that matches a parameter counts. A parameter is right if
`identify` gives one of these names. The models' own code draws the weights, with one seed per repetition.

    python scripts/audit_models.py
    python scripts/audit_models.py --repetitions 5
"""

import argparse
import importlib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from initsearch import identify

#: (pattern of names, the initializers that the source has for them). A bar separates names of equal draws.
Truth = Sequence[tuple[str, str]]

NORMS: Truth = (("*norm*.weight", "ones"), ("*bn*.weight", "ones"), ("*ln_*.weight", "ones"))
FAN_OUT = "he_normal(fan_out)|he_normal(fan_out of the shape)"
SMALL = "normal(std=0.02)"
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 199,
}


def vision(name: str, *arguments: Any, **settings: Any) -> Callable[[], nn.Module]:
    """A constructor of torchvision.models with its arguments."""

    def build() -> nn.Module:
        models = importlib.import_module("torchvision.models")
        model: nn.Module = getattr(models, name)(*arguments, num_classes=10, **settings)
        return model

    return build


def image_model(name: str, **settings: Any) -> Callable[[], nn.Module]:
    """A model of timm."""

    def build() -> nn.Module:
        model: nn.Module = importlib.import_module("timm").create_model(
            name, num_classes=10, **settings
        )
        return model

    return build


def language_model(name: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    """A model of transformers with its configuration."""

    def build() -> nn.Module:
        library = importlib.import_module("transformers")
        model: nn.Module = getattr(library, name)(getattr(library, config)(**settings))
        return model

    return build


MODELS: dict[str, tuple[Callable[[], nn.Module], Truth]] = {
    "torchvision resnet18": (
        vision("resnet18"),
        (
            ("fc.*", "torch_default"),
            ("*conv*.weight", FAN_OUT),
            ("*downsample.0.weight", FAN_OUT),
            ("*.weight", "ones"),
            ("*.bias", "zeros"),
        ),
    ),
    "torchvision mobilenet_v2": (
        vision("mobilenet_v2", width_mult=0.35),
        (
            ("classifier.1.weight", "normal(std=0.01)"),
            ("*.bias", "zeros"),
            ("features.0.0.weight", FAN_OUT),
            ("features.18.0.weight", FAN_OUT),
            ("features.*.conv.*.0.weight", FAN_OUT),
            ("features.1.conv.1.weight", FAN_OUT),
            ("features.1.conv.2.weight", "ones"),
            ("features.*.conv.2.weight", FAN_OUT),
            ("*.weight", "ones"),
        ),
    ),
    "torchvision squeezenet1_1": (
        vision("squeezenet1_1"),
        (
            ("classifier.1.weight", "normal(std=0.01)"),
            ("*.weight", "he_uniform"),
            ("*.bias", "zeros"),
        ),
    ),
    "torchvision shufflenet_v2": (
        vision("shufflenet_v2_x0_5"),
        (("fc.*", "torch_default"), ("*.bias", "zeros"), ("*.weight", "torch_default|ones")),
    ),
    "torchvision vit": (
        vision("VisionTransformer", 32, 8, 4, 4, 64, 128),
        (
            ("class_token", "zeros"),
            ("*pos_embedding", SMALL),
            ("conv_proj.weight", "lecun_normal"),
            ("heads.*", "zeros"),
            ("*.mlp.*.weight", "glorot_uniform"),
            ("*.mlp.*.bias", "normal(std=1e-06)"),
            ("*ln*.weight", "ones"),
            ("*in_proj_weight", "glorot_uniform(fan_avg of the shape)|torch_default: *"),
            ("*out_proj.weight", "torch_default"),
            ("*bias", "zeros"),
        ),
    ),
    "timm vit_tiny": (
        image_model("vit_tiny_patch16_224", depth=4),
        (
            ("cls_token", "normal(std=1e-06)"),
            ("pos_embed", SMALL),
            ("patch_embed.proj.*", "torch_default"),
            *NORMS,
            ("*.weight", SMALL),
            ("*.bias", "zeros"),
        ),
    ),
    "transformers gpt2": (
        language_model(
            "GPT2LMHeadModel",
            "GPT2Config",
            n_embd=64,
            n_layer=4,
            n_head=4,
            vocab_size=199,
            n_positions=64,
        ),
        (
            *NORMS,
            ("*c_proj.weight", "normal(std=0.02) / sqrt(8)"),
            ("*.weight", SMALL),
            ("*.bias", "zeros"),
        ),
    ),
    "transformers bert": (
        language_model("BertModel", "BertConfig", **SIZES),
        (("*LayerNorm.weight", "ones"), ("*.weight", SMALL), ("*.bias", "zeros")),
    ),
    "transformers llama": (
        language_model("LlamaForCausalLM", "LlamaConfig", **SIZES),
        (("*norm.weight", "ones"), ("*.weight", SMALL)),
    ),
}


def is_right(truth: Truth, parameter: str, found: str) -> bool | None:
    """Whether an initializer is that of the source; None if the truth does not have the parameter."""
    for pattern, names in truth:
        if fnmatchcase(parameter, pattern):
            return any(fnmatchcase(found, name) for name in names.split("|"))
    return None


def main() -> None:
    """Print a line per model with its rows, the number of wrong ones, and each wrong one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1, help="seeds of each model")
    repetitions = parser.parse_args().repetitions
    total = errors = 0
    print(f"{'model':30}  tensors  wrong")
    for name, (build, truth) in MODELS.items():
        rows = wrong = 0
        lines: list[str] = []
        for seed in range(repetitions):
            torch.manual_seed(seed)
            report = identify(build())
            for row in report.rows:
                right = is_right(truth, row.parameter, row.initializer)
                if right is None:
                    raise SystemExit(
                        f"{name}: the truth has no pattern for {row.parameter}: add one"
                    )
                rows += 1
                if not right:
                    wrong += 1
                    lines.append(
                        f"    seed {seed}, {row.parameter}: {row.initializer} ({row.confidence:.2f})"
                    )
        total, errors = total + rows, errors + wrong
        print(f"{name:30}  {rows:7d}  {wrong:5d}", *lines, sep="\n")
    print(f"{errors} of {total} wrong: an error rate of {errors / total:.2%}")


if __name__ == "__main__":
    main()
