"""The authors' RecGPT weights over one's own catalogue, read from safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from oakum.data import Dataset
from oakum.engine.fitted import Fitted
from oakum.engine.record import Record
from oakum.errors import ModelFileError
from oakum.models.generative.recgpt import RecGPT

# Published names and ours; "T" turns the matrix, since GPT-2 stores its layers the other way round.
_BLOCK = {"ln_1": "norm_in", "attn.c_attn": "project T", "attn.c_proj": "out T", "ln_2": "norm_net", "mlp.c_fc": "inner T", "mlp.c_proj": "outer T"}  # fmt: skip
_DECODER = {"attention.output_linear": "out", "input_sublayer.norm": "norm_in", "output_sublayer.norm": "norm_net", "feed_forward.w_1": "inner", "feed_forward.w_2": "outer"}  # fmt: skip


def from_published(spec: RecGPT, data: Dataset, sequence: str | Path, tokeniser: str | Path) -> Fitted:
    """A fitted RecGPT with published weights over the users and items of `data`; nothing is trained.

    sequence, tokeniser: the two published state dictionaries as safetensors files (the originals are pickles, which can
    execute code and are not read here: convert them where that does no harm). spec: of their sizes, with their encoder;
    what was published is encoder all-mpnet-base-v2, levels 8,8,8,6,5, embedding_dim 768, num_layers 3, num_heads 12,
    max_length 256. Raises `ModelFileError` where a tensor is missing or has another shape.
    """
    model = spec.build(type(data.schema)(data.num_users, data.num_items, sizes=dict(spec.sizes(data))))
    state = {f"reader.{k}": v for k, v in reader_state(_tensors(sequence), model.reader).items()}
    state |= {f"tokeniser.{k}": v for k, v in tokeniser_state(_tensors(tokeniser), model.tokeniser).items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        what = " ".join(str(error).split())[:300]
        raise ModelFileError(f"{sequence} and {tokeniser} do not fit the settings of RecGPT: {what}") from None
    model.eval()
    for phase in model.phases():
        model.put_facts(model.prepare(data, phase))
    note = f"Published weights from {Path(sequence).name} and {Path(tokeniser).name}; nothing was trained."
    record = Record(system=spec.to_json(), data_name=data.name, notes=[note])
    schema = type(data.schema).from_json({**data.schema.to_json(), "sizes": dict(spec.sizes(data))})
    return Fitted(spec, model, schema, data, record)


def reader_state(found: Mapping[str, Tensor], reader: Any) -> dict[str, Tensor]:
    """Our names of a published sequence model. The row of the padding (the last of the head) has no place here."""
    take = _Taker(found, "sequence model")
    size, places = len(reader.tokens.weight), len(reader.positions.weight)
    # Published histories end at the last place; ours count items back from there.
    back = take("gpt2model.wpe.weight")[:places].unflatten(0, (-1, reader.num_slices)).flip(0).flatten(0, 1)
    out = {"tokens.weight": take("gpt2model.wte.weight")[:size], "positions.weight": back}
    out |= {"side.weight": take("linear_layer.weight"), "head.weight": take("pred_head.weight")[:size]}
    for theirs, ours in (("norm_seq", "norm_tokens"), ("norm_aux", "norm_side"), ("gpt2model.ln_f", "norm")):
        out |= take.layer(theirs, ours)
    for i in range(len(reader.blocks)):
        for theirs, ours in _BLOCK.items():
            out |= take.layer(f"gpt2model.h.{i}.{theirs}", f"blocks.{i}.{ours}")
    return out


def tokeniser_state(found: Mapping[str, Tensor], tokeniser: Any) -> dict[str, Tensor]:
    """Our names of a published tokeniser; its unused encoder layers are left out. Ours reads vectors of length √width and
    rebuilds such, so the first layer is divided by √width and the last one multiplied."""
    take = _Taker(found, "tokeniser")
    out = {"positions.weight": take("decoder.position_emb.weight")}
    for theirs, ours in (
        ("quantizer.project_in", "fsq.project_in"), ("quantizer.project_out", "fsq.project_out"),
        ("decoder.linear_layer.0", "inner"), ("decoder.linear_layer.2", "outer"),
    ):  # fmt: skip
        out |= take.layer(theirs, ours)
    out["fsq.project_in.weight"] = out["fsq.project_in.weight"] / tokeniser.scale
    for kind in ("weight", "bias"):
        out[f"outer.{kind}"] = out[f"outer.{kind}"] * tokeniser.scale
    for i in range(len(tokeniser.blocks)):
        layer = f"decoder.transformer_layers.{i}"
        for kind in ("weight", "bias"):
            parts = [take(f"{layer}.attention.linear_layers.{j}.{kind}") for j in range(3)]
            out[f"blocks.{i}.project.{kind}"] = torch.cat(parts)
        for theirs, ours in _DECODER.items():
            out |= take.layer(f"{layer}.{theirs}", f"blocks.{i}.{ours}")
    return out


class _Taker:
    """Looks tensors up by their published name."""

    def __init__(self, found: Mapping[str, Tensor], what: str) -> None:
        self.found, self.what = found, what

    def __call__(self, name: str) -> Tensor:
        if name not in self.found:
            raise ModelFileError(f"The published {self.what} lacks the tensor '{name}'.")
        return self.found[name]

    def layer(self, theirs: str, ours: str) -> dict[str, Tensor]:
        """Weight and bias of a layer."""
        name, _, turned = ours.partition(" ")
        weight = self(f"{theirs}.weight")
        return {f"{name}.weight": weight.T if turned else weight, f"{name}.bias": self(f"{theirs}.bias")}


def _tensors(path: str | Path) -> dict[str, Tensor]:
    try:
        return {k: v.float() for k, v in load_file(str(path)).items()}
    except (OSError, SafetensorError) as error:
        why = str(error).splitlines()[0]
        raise ModelFileError(f"{path} cannot be read as safetensors: {why}.") from None
