"""The training loop: the only one. Phases, plug-ins, early stopping, resumable state."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oakum.data import Dataset
from oakum.engine import checkpoint, steps
from oakum.engine.learner import Model, Phase, Plugin, flat_phases, owner_of
from oakum.engine.optimisers import Update
from oakum.engine.plan import Plan
from oakum.engine.progress import Progress
from oakum.engine.record import Record
from oakum.engine.run import Run
from oakum.engine.stopping import Stop, Stopping
from oakum.engine.validate import Validation, higher_is_better
from oakum.errors import Interrupted, ModelFileError
from oakum.sampling.batches import Batch, Order
from oakum.seeds import derive


def device_of(plan: Plan) -> torch.device:
    """The device a plan names; auto takes a GPU where there is one."""
    if plan.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(plan.device)


def stages_of(model: Model, plugins: Sequence[Plugin]) -> list[tuple[Phase, ...]]:
    """The model's phases as tuples; phases of plug-ins join the last stage, or follow it where they come `after`."""
    stages = [p if isinstance(p, tuple) else (p,) for p in model.phases()]
    own = [p for plugin in plugins for p in flat_phases(plugin.phases())]
    stages[-1] = (*stages[-1], *(p for p in own if not p.after))
    first, *others = stages[-1]
    for p in own:
        if p.after:
            once_more = replace(first, epochs=p.epochs, learning_rate=p.learning_rate, after=True, looks=False)
            stages.append((once_more, *others))
    return stages


class Trainer:
    """Trains one model with its plug-ins. Built by `fit`; kept apart from it so that a state can be resumed."""

    def __init__(
        self,
        model: Model,
        plugins: Sequence[Plugin],
        data: Dataset,
        validation: Validation | None,
        plan: Plan,
        seed: int,
        record: Record,
        progress: Progress,
    ) -> None:
        self.device = device_of(plan)
        self.model, self.plugins = model.to(self.device), tuple(p.to(self.device) for p in plugins)
        self.plan, self.seed, self.record, self.progress = plan, seed, record, progress
        self.base, self.validation = data, validation
        self.learners = {"model": self.model, **{f"plugin{i}": p for i, p in enumerate(self.plugins)}}
        self.stages = stages_of(self.model, self.plugins)
        self.run = Run(plan, seed, data, self.model, self.plugins, self.device, self.stages[0][0])
        self.stepper = None if plan.step is None else plan.step.begin(self.run)
        self.higher = validation is None or higher_is_better(plan.metric)  # looking it up loads all metrics
        self.stopping = Stopping()
        self.best: dict[str, Tensor] = {}
        self.best_value, self.bad = -float("inf"), 0
        self.place: dict[str, Any] = {"stage": 0, "epoch": 0, "step": 0, "rate_step": 0, "sums": {}}
        self.updates: list[Update] = []
        self.folder = Path(plan.checkpoint) if plan.checkpoint else None

    # --- identity and state -------------------------------------------------------------------------------------
    def identity(self) -> str:
        """What a resumable state must agree with: system, plan, plug-ins, seed, data."""
        plan = {k: v for k, v in self.record.plan.items() if not k.startswith("checkpoint")}
        what = [self.record.system, plan, self.record.plugins, self.seed, self.base.digest]
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes while training."""
        out: dict[str, Tensor] = {}
        for name, learner in self.learners.items():
            out.update({f"{name}/weights/{k}": v for k, v in learner.state_dict().items()})
            out.update({f"{name}/facts/{k}": v for k, v in learner.facts.items()})
        for i, update in enumerate(self.updates):
            out.update(checkpoint.pack_optimiser(update, f"optimiser{i}"))
        out.update({f"best/{k}": v for k, v in self.best.items()})
        if self.stepper is not None:
            out.update({f"step/{k}": v for k, v in self.stepper.state().items()})
        return out

    def save(self) -> None:
        """Write the resumable state, where the plan names a folder."""
        if self.folder is not None:
            position = {
                "identity": self.identity(),
                "place": self.place,
                "best_value": self.best_value,
                "bad": self.bad,
                "history": self.record.history,
            }
            checkpoint.write(self.folder, self.tensors(), position)

    def restore(self) -> dict[str, Tensor] | None:
        """Take up a saved state; returns its tensors (optimisers are restored when their stage begins)."""
        found = checkpoint.read(self.folder) if self.folder is not None else None
        if found is None:
            return None
        tensors, position = found
        if position["identity"] != self.identity():
            raise ModelFileError(
                f"The resumable state in {self.folder} is of another run (other data, settings, seed or plug-ins). "
                "Name another checkpoint folder, or delete this one to start from the beginning."
            )
        for name, learner in self.learners.items():
            part = lambda kind: {
                k.split("/", 2)[2]: v
                for k, v in tensors.items()
                if k.startswith(f"{name}/{kind}/")  # noqa: B023
            }
            learner.resize(part("weights"))
            learner.load_state_dict(part("weights"))
            learner.put_facts(part("facts"))
        self.best = {k[5:]: v.to(self.device) for k, v in tensors.items() if k.startswith("best/")}
        if self.stepper is not None:
            self.stepper.restore({k[5:]: v for k, v in tensors.items() if k.startswith("step/")})
        self.place = dict(position["place"])
        self.best_value, self.bad = position["best_value"], position["bad"]
        self.record.history[:] = position["history"]
        return tensors

    # --- the loop -----------------------------------------------------------------------------------------------
    def train(self) -> None:
        """Run all phases, from the start or from the saved state."""
        resumed = self.restore()
        for learner in self.learners.values():
            learner.start(self.run)
        began = time.monotonic()
        try:
            with self.stopping:
                for index, stage in enumerate(self.stages):
                    if index < self.place["stage"]:
                        continue
                    self._stage(index, stage, resumed)
                    resumed = None
        except Stop:
            self.save()
            raise Interrupted(f"Stopped {self._where()}.") from None
        except KeyboardInterrupt:  # in the middle of something: what was saved last stands
            raise Interrupted(f"Stopped at once {self._where()}, where a whole state was kept last.") from None
        self._take_best()
        for learner in self.learners.values():
            learner.eval()
        if self.stepper is not None:
            self.record.notes += self.stepper.notes()
        self.record.seconds = round(time.monotonic() - began, 3)

    def _where(self) -> str:
        cure = f"run the same command again to resume from {self.folder}" if self.folder else "name a checkpoint"
        return f"in phase '{self.run.phase.name}', epoch {self.place['epoch']}, step {self.place['step']}; {cure}"

    def _stop_if_asked(self) -> None:
        if self.stopping.asked:
            raise Stop

    def _stage(self, index: int, stage: tuple[Phase, ...], resumed: dict[str, Tensor] | None) -> None:
        main = stage[0]
        self.run.phase, self.run.epoch, self.run.step = main, 0, 0
        going_on = resumed is not None and bool(self.place.get("prepared"))
        if not going_on:
            self.place.update(stage=index, epoch=0, step=0, rate_step=0)
            self.bad = 0  # patience counts within a stage
            if main.after:
                self._begin_anew()
            self.run.seed_step()
            for learner in self.learners.values():
                learner.put_facts(learner.prepare(self.base, main))
        moving = [self._moving(phase) for phase in stage]
        self.updates = [steps.optimiser(self.plan, m, p.learning_rate) for p, m in zip(stage, moving, strict=True)]
        if going_on:
            assert resumed is not None
            for i, update in enumerate(self.updates):
                checkpoint.unpack_optimiser(update, resumed, f"optimiser{i}")
        self.place["prepared"] = True
        # A plan without epochs trains nothing, whatever a phase asks for.
        epochs = self.plan.epochs if main.epochs is None or not self.plan.epochs else main.epochs
        for epoch in range(self.place["epoch"], epochs):
            self.place["epoch"] = epoch
            if not self._epoch(stage, moving, epoch, epochs):
                break
        if main.alone:
            self._begin_anew()
        self.place.update(prepared=False, stage=index + 1, epoch=0, step=0)

    def _take_best(self) -> None:
        """Put the best weights back, where the validation part was looked at."""
        if self.best:
            self.model.resize(self.best)
            self.model.load_state_dict(self.best)

    def _begin_anew(self) -> None:
        """From the best weights on, which nothing later is compared with."""
        self._take_best()
        self.best, self.best_value = {}, -float("inf")

    def _moving(self, phase: Phase) -> list[nn.Parameter]:
        owner = owner_of(phase, self.model, self.plugins)
        out = [p for n, p in owner.named_parameters() if any(n.startswith(prefix) for prefix in phase.moves)]
        out = [p for p in out if p.requires_grad]
        if not phase.own:
            out += [p for plugin in self.plugins if not plugin.phases() for p in plugin.parameters() if p.requires_grad]
        return out

    def _epoch(self, stage: tuple[Phase, ...], moving: list[list[nn.Parameter]], epoch: int, epochs: int) -> bool:
        run, skip = self.run, self.place["step"]
        run.epoch, run.phase, run.step = epoch, stage[0], 0
        for learner in self.learners.values():
            learner.train()
            if skip == 0:
                learner.epoch(run)
        data = self.base
        for learner in self.learners.values():
            data = learner.data(run, data)
        run.use(data)
        sums: dict[str, float] = self.place["sums"] if skip else {}
        self.place["sums"] = sums
        total = -(-self.model.rows(data, stage[0]) // self.plan.batch_size)
        if self.stepper is not None:
            total = self.stepper.count()
        for at, (turn, batch) in enumerate(self._turns(stage, data, epoch)):
            if at < skip:
                continue
            run.step, run.phase = at, stage[turn]
            run.seed_step()
            if batch.wants and batch.negatives is None:
                batch.negatives = run.sampler.draw(run, batch, batch.wants)
            factor = steps.rate_at(self.plan, self.place["rate_step"], epochs * total)
            for group in self.updates[turn].param_groups:
                group["lr"] = (stage[turn].learning_rate or self.plan.learning_rate) * factor
            for name, value in self._step(batch.to(self.device), moving[turn], self.updates[turn]).items():
                sums[name] = sums.get(name, 0.0) + value
            for learner in self.learners.values():
                learner.settle()
            self.place["step"] = at + 1
            self.place["rate_step"] += turn == 0  # a schedule is laid out by the first phase's steps
            share = (epoch + min(1.0, (at + 1) / max(1, total))) / epochs
            self.progress.update(share, f"epoch {epoch + 1}/{epochs}")
            self._stop_if_asked()
        count, self.place["sums"] = self.place["step"], {}
        self.place.update(step=0, epoch=epoch + 1)
        entry: dict[str, Any] = {"phase": stage[0].name, "epoch": epoch}
        entry["losses"] = {k: v / max(1, count) for k, v in sums.items()}
        go_on = not stage[0].looks or self._look(entry, epoch + 1 == epochs)
        self.record.history.append(entry)
        if not go_on:
            self.place["epoch"] = epochs
        if (epoch + 1) % self.plan.checkpoint_every == 0 or not go_on:
            self.save()
        self._stop_if_asked()
        return go_on

    def _step(self, batch: Batch, moving: list[nn.Parameter], update: Update) -> dict[str, float]:
        if self.stepper is not None:
            taken: dict[str, float] = self.stepper(batch, moving, update)
            return taken
        return steps.central(self.run, batch, moving, update)

    def _turns(self, stage: tuple[Phase, ...], data: Dataset, epoch: int) -> Iterator[tuple[int, Batch]]:
        """(turn, batch): the first phase's batches end the epoch, the others start over when they run out."""

        def batches(i: int, again: int) -> Iterator[Batch]:
            phase = stage[i]
            owner = owner_of(phase, self.model, self.plugins)
            part = data
            if phase.on == "valid":
                if self.validation is None:
                    raise ModelFileError("A phase trains on the validation part: give a split with one.")
                part = self.validation.dataset
            order = Order(derive(self.seed, again), phase.name, epoch, self.plan.batch_size)
            found: Iterator[Batch] = owner.batches(part, phase, order)
            return found if self.stepper is None else self.stepper.batches(owner, part, phase, order)

        def endless(i: int) -> Iterator[Batch]:
            for again in itertools.count(1):
                yield from batches(i, again)

        first = batches(0, 0)
        if len(stage) == 1:
            yield from ((0, batch) for batch in first)
            return
        others = {i: endless(i) for i in range(1, len(stage))}
        done = 0
        while turn := list(itertools.islice(first, stage[0].steps or stage[1].every)):
            for batch in turn:
                done += 1
                yield 0, batch
            for i, source in others.items():
                for batch in itertools.islice(source, stage[i].steps or 1):
                    yield i, batch

    def _look(self, entry: dict[str, Any], last: bool) -> bool:
        """Measure on the validation part when it is due; False ends the stage."""
        if self.validation is None or not ((entry["epoch"] + 1) % self.plan.evaluate_every == 0 or last):
            return True
        for learner in self.learners.values():
            learner.eval()
        value = self.validation.measure(self.model, self.plan.metric)
        entry["validation"] = {self.plan.metric: value}
        gain = value if self.higher else -value
        if gain > self.best_value:
            self.best_value, self.bad = gain, 0
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        else:
            self.bad += 1
        if self.plan.patience and self.bad >= self.plan.patience:
            self.record.stopped = f"no gain in {self.bad} evaluations of {self.plan.metric}"
            return False
        return True
