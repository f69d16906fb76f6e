"""The update rules of a plan, step for step those of `torch.optim`, whose own classes load torch's compiler when they are
made: a second and a half, and 70 MB, of every process that trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


class Update:
    """Moves parameters by their gradients; those without a gradient stay.

    `param_groups[0]["lr"]` is the rate of the next step, `state` what the rule remembers of each parameter.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, *, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.param_groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": rate}]
        self.weight_decay = weight_decay
        self.state: dict[nn.Parameter, State] = {}

    @torch.no_grad()
    def step(self) -> None:
        """One step."""
        moving = [p for p in self.parameters if p.grad is not None]
        for p in moving:
            if p not in self.state:
                self.state[p] = self.begin(p)
        alike: dict[Any, list[nn.Parameter]] = {}
        for p in moving:
            alike.setdefault((p.device, p.dtype), []).append(p)
        for group in alike.values():
            self.move(group, float(self.param_groups[0]["lr"]))

    def begin(self, parameter: nn.Parameter) -> State:
        """What is remembered of a parameter before its first step."""
        return {}

    def move(self, parameters: Sequence[nn.Parameter], rate: float) -> None:
        """Move parameters of one device and one kind."""
        raise TypeError(f"{type(self).__name__} does not say how it moves.")

    def remembered(self, parameters: Sequence[nn.Parameter], name: str) -> list[Tensor]:
        """One part of the state of each parameter."""
        return [self.state[p][name] for p in parameters]

    def state_dict(self) -> dict[str, dict[int, State]]:
        """{"state": what is remembered by the place of the parameter}."""
        return {"state": {i: self.state[p] for i, p in enumerate(self.parameters) if self.state.get(p)}}

    def load_state_dict(self, saved: Mapping[str, Mapping[int, State]]) -> None:
        """The inverse of `state_dict`; tensors go to the device of their parameter."""
        for i, state in saved["state"].items():
            p = self.parameters[i]
            self.state[p] = {k: v.to(p.device, copy=True) for k, v in state.items()}


class Adam(Update):
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← p − rate · m̂ / (√v̂ + 1e-8), in one pass over all four.

    decoupled: weight decay shrinks the parameters themselves (AdamW); otherwise it is added to the gradient. Time and memory
    traffic of the whole table, also where few rows have a gradient: their moments fade at every step.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        rate: float,
        *,
        weight_decay: float = 0.0,
        beta2: float = 0.999,
        decoupled: bool = False,
    ) -> None:
        super().__init__(parameters, rate, weight_decay=weight_decay)
        self.beta2, self.rule = beta2, torch._fused_adamw_ if decoupled else torch._fused_adam_

    def begin(self, parameter: nn.Parameter) -> State:
        """No steps, no moments."""
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        moment = lambda: torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return {"step": step, "exp_avg": moment(), "exp_avg_sq": moment()}

    def move(self, parameters: Sequence[nn.Parameter], rate: float) -> None:
        """One fused pass."""
        grads = [p.grad for p in parameters if p.grad is not None]
        steps, first, second = (self.remembered(parameters, n) for n in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        self.rule(
            list(parameters),
            grads,
            first,
            second,
            [],
            steps,
            amsgrad=False,
            lr=rate,
            beta1=0.9,
            beta2=self.beta2,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
            grad_scale=None,
            found_inf=None,
        )


class SGD(Update):
    """p ← p − rate · (g + weight_decay · p)."""

    def move(self, parameters: Sequence[nn.Parameter], rate: float) -> None:
        """One after the other."""
        for p in parameters:
            assert p.grad is not None
            p.add_(p.grad.add(p, alpha=self.weight_decay) if self.weight_decay else p.grad, alpha=-rate)


class Adagrad(Update):
    """s ← s + g², p ← p − rate · g / (√s + 1e-10)."""

    def begin(self, parameter: nn.Parameter) -> State:
        """No squares."""
        return {"sum": torch.zeros_like(parameter, memory_format=torch.preserve_format)}

    def move(self, parameters: Sequence[nn.Parameter], rate: float) -> None:
        """One after the other."""
        for p in parameters:
            assert p.grad is not None
            grad = p.grad.add(p, alpha=self.weight_decay) if self.weight_decay else p.grad
            total = self.state[p]["sum"].addcmul_(grad, grad)
            p.addcdiv_(grad, total.sqrt().add_(1e-10), value=-rate)
