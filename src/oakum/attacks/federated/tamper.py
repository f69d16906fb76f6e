"""Participants that spoil what they send: sabotage and free riding, for rules that watch behaviour."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from oakum.attacks.federated.common import ClientAttack
from oakum.engine.uploads import Seen, Upload


class Tampering(ClientAttack):
    """The last participants of a federation train as all do and send something else.

    Per entry of their own honest upload x (Xu & Lyu 2021): free-rider Uniform(−1, 1) whatever was trained; signs x · ±1 at
    random; scale x · 10 · Uniform(−10, 10); invert: half of the entries 1 / (x + 1e-10). Meant for silos
    (`Federated(groups=..)`); degrades rather than promotes. Cost: that of honest work.
    """

    slug = "tampering-clients"
    threat = ClientAttack.threat
    knowledge = "what every participant knows"
    seizes: ClassVar[bool] = True
    mode: Annotated[Literal["free-rider", "signs", "scale", "invert"], "what is done to the upload"] = "signs"

    def upload(self, seen: Seen) -> Upload:
        """The spoiled upload."""
        assert seen.honest is not None
        return {
            n: (v[0], self._spoil(v[1], seen)) if isinstance(v, tuple) else self._spoil(v, seen)
            for n, v in seen.honest.items()
        }

    def _spoil(self, x: Tensor, seen: Seen) -> Tensor:
        chance = torch.rand(x.shape, generator=seen.generator, device=x.device)
        if self.mode == "free-rider":
            return 2 * chance - 1
        if self.mode == "signs":
            return torch.where(chance < 0.5, -x, x)
        if self.mode == "scale":
            return x * 10 * (20 * chance - 10)
        return torch.where(chance < 0.5, 1 / (x + 1e-10), x)
