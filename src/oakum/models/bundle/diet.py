"""DieT: a teacher that knows bundles alone teaches a student that sees what sells."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from oakum import losses
from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Facts, Losses, Phase, Reps
from oakum.models.bundle.clhe import CLHE, CLHEModel
from oakum.nn.sets import SetEncoder
from oakum.parameters import Range
from oakum.sampling.batches import Batch
from oakum.sampling.bundles import Bundles


class DieT(CLHE):
    """Finds the slow sellers that belong with the best-sellers of a bundle, where others propose more best-sellers.

    Paper: DieT (arXiv 2411.19107). Over CLHE: a teacher reads which items are in which bundles and nothing of shoppers
    (a table, self-attention over the given items, average, t = b · e'), so nobody's popularity reaches it. Its opinion
    guides the student: L = L_student + L_teacher + β τ² KL(softmax(t / τ) ‖ softmax(s / τ)) + contrasts, with no way back to
    the teacher; items in no bundle are left out of the divergence. β = 0 is CLHE bit by bit. Answers are the student's; the
    teacher stays for reports (`teacher_scores`). Memory as CLHE and 8 items · d; time a step as CLHE and items · d · batch.
    Newcomers: any set of items; new items by their text. τ, β and the student's views are our choice: the paper's figures
    were not at hand. The log is one of bundles, see CLHE.
    """

    slug = "diet"
    views: Annotated[tuple[str, ...], "what the student knows items by: content, feedback, bundles"] = (
        "content",
        "feedback",
    )
    beta: Annotated[float, Range(0, search=(0.1, 10), log=True), "β: weight of the teacher's opinion"] = 1.0
    tau: Annotated[float, Range(above=0, search=(0.5, 8), log=True), "τ: temperature of both opinions"] = 2.0
    teacher_epochs: Annotated[
        int, Range(0), "passes that train the teacher first, frozen afterwards; 0: both at once"
    ] = 0
    frequency_correction: Annotated[
        float, Range(0, 2), "share of log counts in bundles taken off the teacher's logits"
    ] = 0.0

    def model(self, schema: Schema) -> DieTModel:
        """The student, as CLHE would be, and then the teacher."""
        return DieTModel(self, schema)


class Teacher(nn.Module):
    """Bundles and their items, and nothing else."""

    def __init__(self, spec: DieT, num_items: int) -> None:
        super().__init__()
        self.inside, self.candidates = (nn.Embedding(num_items, spec.embedding_dim) for _ in range(2))
        for table in (self.inside, self.candidates):
            nn.init.xavier_normal_(table.weight)
        self.sets = SetEncoder(spec.embedding_dim)


class DieTModel(CLHEModel):
    """CLHE with a teacher beside it."""

    spec: DieT

    def __init__(self, spec: DieT, schema: Schema) -> None:
        super().__init__(spec, schema)
        self.teacher = Teacher(spec, schema.num_items)

    def phases(self) -> tuple[Phase, ...]:
        """Both at once, or the teacher first and the student then."""
        if not self.spec.teacher_epochs:
            return (Phase(),)
        student = Phase(name="main", moves=("encoder.", "decoder.", "sets."))
        return Phase(name="teacher", moves=("teacher.",), epochs=self.spec.teacher_epochs, looks=False), student

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """CLHE's, and how often each item is in a bundle."""
        counts = torch.from_numpy(data.item_counts.astype("float32"))
        return {**super().prepare(data, phase), "log_counts": counts.clamp_min(1).log()}

    def represent(self, batch: Batch) -> Reps:
        """CLHE's; private: what the teacher makes of the same part of each bundle."""
        assert isinstance(batch, Bundles)
        reps = super().represent(batch)
        inside, there = self.teacher.inside(batch.members.clamp_min(0)), batch.members >= 0
        own = (self.teacher.candidates(batch.members.clamp_min(0)) * there.unsqueeze(-1)).sum(1)
        return {
            **reps,
            "_teacher": self.teacher.sets(inside, reps["_given"]),
            "_teacher_positive": own / there.sum(1, keepdim=True),
        }

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """CLHE's, the teacher's own, and what the student is told."""
        out, table = super().losses(batch, reps), self.teacher.candidates.weight
        out["_teacher"] = losses.softmax(reps["_teacher"], reps["_teacher_positive"], table)
        if self.spec.beta:
            seen = self.facts["bundled"]
            opinion = reps["_teacher"].detach() @ table.detach()[seen].T
            opinion = opinion - self.spec.frequency_correction * self.facts["log_counts"][seen]
            student = reps["query"] @ reps["_table"][seen].T
            out["_distilled"] = self.spec.beta * losses.distill(student, opinion, self.spec.tau)
        return out

    def teacher_scores(self, queries: Queries) -> Tensor:
        """The teacher's opinion, which no shopper's taste has touched: [q, items], NaN for items in no bundle."""
        seen = self.facts["bundled"]
        with torch.no_grad():
            vectors = self._read(queries, self.teacher.inside.weight, self.teacher.sets, seen)
            return (vectors @ self.teacher.candidates.weight.T).masked_fill(~seen, torch.nan)
