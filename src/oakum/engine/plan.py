"""How to train: kept apart from what a system is (its spec) and from how it is measured (its split)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from oakum.parameters import Parameters, Range
from oakum.sampling.samplers import Sampler

if TYPE_CHECKING:
    from oakum.engine.run import Run


class Step(Parameters):
    """How batches become changes of the weights, in place of one ordinary step after the other on one machine."""

    def begin(self, run: Run) -> Any:
        """What carries it out over a run: makes the batches, takes the steps, keeps a state (see `federated.Federation`)."""
        raise TypeError(f"{type(self).__name__} does not say how it steps.")


class Plan(Parameters):
    """One training plan. A spec's `plan()` gives its paper's; whoever calls `fit` may replace any value.

    `threads` is what torch may use inside one fit. The default of one makes figures equal on every machine and
    leaves the other cores to other trials; spinning threads on a busy machine cost ten times the work.
    """

    optimiser: Annotated[Literal["adam", "adamw", "sgd", "adagrad"], "the update rule"] = "adam"
    learning_rate: Annotated[float, Range(above=0, high=10, search=(1e-4, 1e-1), log=True), "step size"] = 1e-3
    weight_decay: Annotated[float, Range(0, 10), "decay inside the optimiser (decoupled for adamw)"] = 0.0
    beta2: Annotated[float, Range(0, below=1), "second-moment decay of adam and adamw"] = 0.999
    epochs: Annotated[int, Range(0, 100_000), "passes over the training events, at most"] = 20
    batch_size: Annotated[int, Range(1, 1_048_576, search=(256, 8192), log=True), "rows in a step"] = 2048
    clip_norm: Annotated[float, Range(0), "largest gradient norm; 0 leaves gradients as they are"] = 0.0
    schedule: Annotated[Literal["constant", "cosine", "linear"], "course of the learning rate"] = "constant"
    warmup: Annotated[int, Range(0), "steps over which the learning rate rises from 0"] = 0
    patience: Annotated[int, Range(0), "evaluations without a gain before stopping; 0 never stops early"] = 5
    evaluate_every: Annotated[int, Range(1), "epochs between two looks at the validation part"] = 5
    metric: Annotated[str, "what early stopping watches, on the validation part"] = "ndcg@10"
    negatives: Annotated[Sampler | None, "draws negatives in place of the system's own sampler"] = None
    step: Annotated[Step | None, "how batches become changes, such as Federated; none steps centrally"] = None
    device: Annotated[Literal["auto", "cpu", "cuda"], "auto takes a GPU where there is one"] = "auto"
    precision: Annotated[Literal["float32", "bfloat16"], "bfloat16: products in half precision, weights in full"] = (
        "float32"
    )
    threads: Annotated[int, Range(1, 1024), "threads of torch inside one fit"] = 1
    checkpoint: Annotated[str | None, "folder for the resumable state; none keeps no state"] = None
    checkpoint_every: Annotated[int, Range(1), "epochs between two resumable states"] = 1
