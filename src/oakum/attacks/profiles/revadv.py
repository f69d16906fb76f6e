"""The revised bilevel attack: train a surrogate, differentiate through its training, move the profiles, again."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor

from oakum import losses
from oakum.attacks.profiles.relaxed import Relaxed, Search
from oakum.engine.inputs import unroll
from oakum.parameters import Range


class RevAdvProfiles(Relaxed):
    """Fake accounts whose every entry is chosen by the gradient through a surrogate's training.

    Paper: Tang et al. 2020. Up −Σ_u −Σ_{t ∈ T} log softmax(s_u)_t / |T| over people, s the scores of a surrogate trained on log
    and fakes; rows of the gradient have length 1, momentum 0.95; the profiles best on the surrogate are kept. inner "als"
    differentiates the closed last sweep, "gradient" `inner_steps` Adam steps from the trained surrogate. Grey box: reads the
    log, trains its own model, never looks at the victim. Memory accounts · items + items · d² floats, time steps · (a fit of
    iALS + accounts · items · d²). Differs in profiles of a fixed length (the paper keeps entries above 0.05, at any number)
    and in iALS for weighted MF by Adam.
    """

    slug = "revadv-profiles"
    knowledge: ClassVar[str] = "the log; a surrogate model of its own"
    direction: ClassVar[Any] = "unit"
    momentum: ClassVar[float] = 0.95
    inner: Annotated[Literal["als", "gradient"], "how the surrogate's training is differentiated"] = "als"
    inner_steps: Annotated[int, Range(1, 100), "training steps unrolled under 'gradient'"] = 3
    inner_rate: Annotated[float, Range(above=0), "size of those steps"] = 1e-2

    def gain(self, people: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """−L_adv: the mean log-probability of the targets."""
        # Σ_t log softmax_t / T needs one sum of exponentials: the mean of the targets' scores is the score of their mean.
        wanted = items[targets].mean(0).expand(len(people), -1)
        return -losses.softmax(people, wanted, items).mean()

    def outcome(self, search: Search, rows: Tensor) -> tuple[Tensor, Tensor]:
        """After the closed sweep, or after gradient steps."""
        if self.inner == "als":
            return super().outcome(search, rows)
        surrogate = search.surrogate
        start = search.fit(rows.detach()).named()
        size = rows.shape[0] + surrogate.data.num_users
        after = unroll(
            lambda p: surrogate.loss(p, rows) / size, start, self.inner_steps, self.inner_rate, update="adam"
        )
        return after["users"][surrogate.people], after["items"]
