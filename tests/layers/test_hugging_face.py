"""Hugging Face's models, tiny, from their configurations: for some layers, what follows.

They pass dictionaries around, tie weights, keep weights as (in, out) and as stacks of experts.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from initsearch.layers import Slot, describe

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 99,
    "max_position_embeddings": 64,
}
TOKENS = torch.arange(14).view(2, 7)
Row = tuple[str | None, str | None]


def check(model: Any, batch: Any, expected: Mapping[str, Row]) -> dict[str, Slot]:
    slots = {slot.name: slot for slot in describe(model, batch)}
    found = {}
    for name in expected:
        slot = slots.get(f"{name}.weight") or slots[name]
        assert slot.category == "weight"
        found[name] = (slot.activation, slot.role)
    assert found == expected
    return slots


@pytest.mark.parametrize("given", [True, False])
def test_bert(given: bool) -> None:
    # A post-norm encoder; the pooler is a linear layer and tanh. Without a batch: its `dummy_inputs`.
    layer = "bert.encoder.layer.0"
    check(
        transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES)),
        {"input_ids": TOKENS, "labels": torch.tensor([0, 1])} if given else None,
        {
            "bert.embeddings.word_embeddings": ("none", "first"),
            f"{layer}.attention.self.query": ("attention", "hidden"),
            f"{layer}.attention.self.value": ("attention", "hidden"),
            f"{layer}.attention.output.dense": ("none", "hidden"),
            f"{layer}.intermediate.dense": ("gelu", "hidden"),
            f"{layer}.output.dense": ("none", "hidden"),
            "bert.pooler.dense": ("tanh", "hidden"),
            "classifier": ("none", "head"),
        },
    )


def test_gpt2() -> None:
    # Conv1D keeps its weight as (in, out); the head is tied to the embedding; gelu by hand.
    config = transformers.GPT2Config(
        n_embd=32,
        n_layer=1,
        n_head=4,
        vocab_size=99,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=1,
    )
    slots = check(
        transformers.GPT2LMHeadModel(config),
        {"input_ids": TOKENS},
        {
            "transformer.wte": ("none", "head"),
            "transformer.h.0.attn.c_attn": ("attention", "hidden"),
            "transformer.h.0.mlp.c_fc": ("gelu", "hidden"),
            "transformer.h.0.mlp.c_proj": ("none", "hidden"),
        },
    )
    assert slots["transformer.wte.weight"].tied_names == ("lm_head.weight",)
    wide = slots["transformer.h.0.mlp.c_fc.weight"]
    assert (wide.kind, wide.fan_in, wide.fan_out) == ("linear", 32, 128)


def test_llama() -> None:
    # RMS norms, rotary embeddings (which read only the type of the activations), SwiGLU.
    check(
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
        {"input_ids": TOKENS},
        {
            "model.embed_tokens": ("none", "first"),
            "model.layers.0.self_attn.q_proj": ("attention", "hidden"),
            "model.layers.0.self_attn.o_proj": ("none", "hidden"),
            "model.layers.0.mlp.gate_proj": ("swiglu", "hidden"),
            "model.layers.0.mlp.up_proj": ("swiglu", "hidden"),
            "model.layers.0.mlp.down_proj": ("none", "hidden"),
            "lm_head": ("none", "head"),
        },
    )


def test_t5() -> None:
    # Encoder and decoder; the encoder's state is returned as well, but it is not a head.
    config = transformers.T5Config(
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=1,
        num_heads=4,
        vocab_size=99,
        feed_forward_proj="gated-gelu",
    )
    attention = "encoder.block.0.layer.0.SelfAttention"
    slots = check(
        transformers.T5ForConditionalGeneration(config),
        {"input_ids": TOKENS, "decoder_input_ids": TOKENS},
        {
            "shared": ("none", "head"),
            f"{attention}.q": ("attention", "hidden"),
            f"{attention}.relative_attention_bias": ("attention", "hidden"),
            "encoder.block.0.layer.1.DenseReluDense.wi_0": ("geglu", "hidden"),
            "encoder.block.0.layer.1.DenseReluDense.wi_1": ("geglu", "hidden"),
            "encoder.block.0.layer.1.DenseReluDense.wo": ("none", "hidden"),
            "decoder.block.0.layer.1.EncDecAttention.k": ("attention", "hidden"),
            "decoder.block.0.layer.2.DenseReluDense.wo": ("none", "hidden"),
        },
    )
    assert len(slots["shared.weight"].tied_names) == 3


def test_mixtral() -> None:
    # Experts are stacks of matrices, not modules; the router ends in a softmax.
    config = transformers.MixtralConfig(num_key_value_heads=4, num_local_experts=2, **SIZES)
    slots = check(
        transformers.MixtralForCausalLM(config),
        {"input_ids": TOKENS},
        {
            "model.layers.0.mlp.gate": ("softmax", "hidden"),
            "model.layers.0.mlp.experts.gate_up_proj": ("swiglu", "hidden"),
            "model.layers.0.mlp.experts.down_proj": ("none", "hidden"),
            "lm_head": ("none", "head"),
        },
    )
    experts = slots["model.layers.0.mlp.experts.gate_up_proj"]
    assert experts.shape == (2, 96, 32)
    assert [(part.fan_in, part.fan_out) for part in experts.parts] == [(32, 96)] * 2
    assert experts.parts[1].view(torch.zeros(2, 96, 32)).shape == (96, 32)
