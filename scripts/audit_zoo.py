"""The models of the audit: small configurations of torchvision, timm and transformers; and what sources say.

`SOURCES` has the sample whose source code was read: for each model a list of name patterns with the
initializers that it calls; the first pattern that matches a parameter counts. `ZOO` has all models.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

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
        model: nn.Module = _part(name)(*arguments, num_classes=10, **settings)
        return model

    return build


def _part(path: str) -> Any:
    """What stands in torchvision.models under a dotted path."""
    place, _, name = path.rpartition(".")
    return getattr(
        importlib.import_module(".".join(filter(None, ["torchvision.models", place]))), name
    )


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


SOURCES: dict[str, tuple[Callable[[], nn.Module], Truth]] = {
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


# Settings of transformers' configurations under other names.
_ENCODER_DECODER = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "vocab_size": 199,
    "pad_token_id": 1,
}
_SOUND = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 2, 2),
    "conv_kernel": (10, 3, 3),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_GQA = {**SIZES, "num_key_value_heads": 2, "head_dim": 16}
_IMAGES = {**SIZES, "image_size": 32, "patch_size": 8}

_TORCHVISION: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v3_small": vision("mobilenet_v3_small"),
    "mnasnet0_5": vision("mnasnet0_5"),
    "efficientnet_b0": vision("efficientnet_b0"),
    "densenet121": vision("densenet121"),
    "googlenet": vision("googlenet", init_weights=True),
    "regnet_x_400mf": vision("regnet_x_400mf"),
    "regnet_y_400mf": vision("regnet_y_400mf"),
    "lraspp": vision("segmentation.lraspp_mobilenet_v3_large", weights_backbone=None),
    "swin": vision("SwinTransformer", [4, 4], 24, [2, 2], [2, 4], [4, 4]),
    "resnext": vision(
        "ResNet", _part("resnet.Bottleneck"), [1, 1, 1, 1], groups=8, width_per_group=4
    ),
    "convnext": vision(
        "ConvNeXt",
        [_part("convnext.CNBlockConfig")(24, 48, 2), _part("convnext.CNBlockConfig")(48, None, 2)],
    ),
}
_TIMM_SETTINGS: dict[str, dict[str, Any]] = {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "test_byobnet": {},
    "test_nfnet": {},
    "test_vit": {},
    "test_vit2": {},
    "test_mambaout": {},
    "convnext_atto": {},
    "mobilenetv3_small_050": {},
    "mobilevit_xxs": {},
    "edgenext_xx_small": {},
    "efficientvit_b0": {},
    "deit_tiny_patch16_224": {"depth": 3},
    "test_vit3": {},
    "test_efficientnet_gn": {},
    "test_efficientnet_ln": {},
    "xcit_nano_12_p16_224": {"depth": 3},
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (2, 2)},
    "lcnet_035": {},
    "ghostnet_050": {},
    "tinynet_e": {},
}
_TIMM: dict[str, Callable[[], nn.Module]] = {
    name: image_model(name, **settings) for name, settings in _TIMM_SETTINGS.items()
}
_CONFIGURATIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("RobertaModel", "RobertaConfig", SIZES),
    ("AlbertModel", "AlbertConfig", {**SIZES, "embedding_size": 32}),
    ("ElectraModel", "ElectraConfig", {**SIZES, "embedding_size": 32}),
    (
        "DistilBertModel",
        "DistilBertConfig",
        {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 96, "vocab_size": 199},
    ),
    ("DebertaV2Model", "DebertaV2Config", SIZES),
    ("GPTNeoXForCausalLM", "GPTNeoXConfig", SIZES),
    ("OPTForCausalLM", "OPTConfig", {**SIZES, "ffn_dim": 96, "word_embed_proj_dim": 64}),
    ("MistralForCausalLM", "MistralConfig", _GQA),
    ("Qwen2ForCausalLM", "Qwen2Config", _GQA),
    ("Qwen3ForCausalLM", "Qwen3Config", _GQA),
    ("GemmaForCausalLM", "GemmaConfig", _GQA),
    ("PhiForCausalLM", "PhiConfig", SIZES),
    (
        "BloomForCausalLM",
        "BloomConfig",
        {"hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": 199},
    ),
    ("MixtralForCausalLM", "MixtralConfig", {**_GQA, "num_local_experts": 4}),
    (
        "MambaForCausalLM",
        "MambaConfig",
        {"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 199, "state_size": 8},
    ),
    (
        "T5ForConditionalGeneration",
        "T5Config",
        {
            "d_model": 64,
            "d_kv": 16,
            "d_ff": 96,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": 199,
        },
    ),
    ("BartModel", "BartConfig", _ENCODER_DECODER),
    (
        "WhisperModel",
        "WhisperConfig",
        {
            **_ENCODER_DECODER,
            "num_mel_bins": 16,
            "max_source_positions": 32,
            "max_target_positions": 16,
        },
    ),
    ("Wav2Vec2Model", "Wav2Vec2Config", _SOUND),
    ("ViTModel", "ViTConfig", _IMAGES),
    ("DeiTModel", "DeiTConfig", _IMAGES),
    ("BeitModel", "BeitConfig", _IMAGES),
)
_TRANSFORMERS: dict[str, Callable[[], nn.Module]] = {
    config.removesuffix("Config"): language_model(model, config, **settings)
    for model, config, settings in _CONFIGURATIONS
}

ZOO: dict[str, Callable[[], nn.Module]] = {
    **{name: build for name, (build, _) in SOURCES.items()},
    **{f"torchvision {name}": build for name, build in _TORCHVISION.items()},
    **{f"timm {name}": build for name, build in _TIMM.items()},
    **{f"transformers {name}": build for name, build in _TRANSFORMERS.items()},
}
