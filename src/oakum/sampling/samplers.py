"""Negative samplers: small typed values that any model with negatives takes.

What a sampler is can be read without torch; drawing happens inside the engine.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from oakum.parameters import Parameters, Range


class Sampler(Parameters):
    """Draws the negatives of a batch. `draw(run, batch, n)` gives `Negatives`: items [b, n] and their log q.

    alone: needs nothing but the row's own user and the catalogue, so a federated client can draw by itself.
    """

    alone: ClassVar[bool] = False

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """`n` items a row that are not training positives of the row's user."""
        raise TypeError(f"{type(self).__name__} does not say how it draws.")


class Uniform(Sampler):
    """Every item equally likely; with `reject`, positives of the user are redrawn.

    A model that says what comes next must learn that what was had will not, unless it repeats: it takes `reject=False`,
    and masks draws of the target itself.
    """

    slug = "uniform"
    alone = True
    reject: Annotated[bool, "redraw what the user has"] = True

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """q(j) = 1 / items."""
        from oakum.sampling.negatives import draw_from

        return draw_from(run, batch, n, cumulative=None, reject=self.reject)


class Shared(Sampler):
    """One uniform draw for the whole batch: [1, n] items.

    Cheap where n is in the hundreds: one matrix product instead of b · n gathered vectors. With `reject`, the weights
    [b, n] are 0 where a row's user has the item (a model must read them); without, the user's own items stay in.
    """

    slug = "shared"
    alone = True
    reject: Annotated[bool, "whether what a row's user has weighs nothing there"] = True

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """q(j) = 1 / items, the same items for every row."""
        from oakum.sampling.negatives import draw_shared

        return draw_shared(run, batch, n, self.reject)


class Popular(Sampler):
    """Items in proportion to (number of users) ** power; power 0.75 is word2vec's, 1 is plain popularity."""

    slug = "popular"
    power: Annotated[float, Range(0, 4), "exponent of the popularity"] = 0.75
    reject: Annotated[bool, "redraw what the user has"] = True

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """q(j) ∝ count(j) ** power, items never seen are never drawn."""
        from oakum.sampling.negatives import draw_from, popularity_table

        return draw_from(run, batch, n, cumulative=popularity_table(run, self.power), reject=self.reject)


class InBatch(Sampler):
    """The positives of the other rows of the batch; log q is the logarithm of the item's share of events."""

    slug = "in-batch"

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """`n` other rows, drawn with replacement; positives of the user are redrawn from further rows."""
        from oakum.sampling.negatives import draw_in_batch

        return draw_in_batch(run, batch, n)


class InDomain(Sampler):
    """Items of the positive's own domain, equally likely: a negative from elsewhere would be told apart by its domain
    alone. Needs a column `domain` in the table of items."""

    slug = "in-domain"
    alone = True

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """q(j) = 1 / items of the domain; positives of the user are redrawn."""
        from oakum.sampling.negatives import draw_in_domain

        return draw_in_domain(run, batch, n)


class OnOffer(Sampler):
    """Items that could have been had: with an event in training, the first of them no later than the row's own.

    For models of content: an item that nobody could have yet would teach them that new things are not wanted. Batches
    without times draw from all items that have an event.
    """

    slug = "on-offer"
    reject: Annotated[bool, "redraw what the user has"] = True

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """q(j) = 1 / items on offer at the time of the row."""
        from oakum.sampling.negatives import draw_on_offer

        return draw_on_offer(run, batch, n, reject=self.reject)


class Mixed(Sampler):
    """A share of uniform draws, the rest from the batch (Yang et al. 2020, mixed negative sampling)."""

    slug = "mixed"
    uniform_share: Annotated[float, Range(0, 1), "share of the negatives that are uniform"] = 0.5

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """The first round(share · n) columns are uniform."""
        from oakum.sampling.negatives import draw_from, draw_in_batch, side_by_side

        uniform = round(self.uniform_share * n)
        parts = []
        if uniform:
            parts.append(draw_from(run, batch, uniform, cumulative=None))
        if n - uniform:
            parts.append(draw_in_batch(run, batch, n - uniform))
        return side_by_side(parts)


class Hard(Sampler):
    """Dynamic negatives (Zhang et al. 2013): the best scored of `pool` uniform candidates, under today's weights."""

    slug = "hard"
    alone = True
    pool: Annotated[int, Range(1, 4096, search=(4, 64), log=True), "candidates for each negative"] = 16

    def draw(self, run: Any, batch: Any, n: int) -> Any:
        """Scores `n · pool` candidates a row without gradient and keeps the best of each pool."""
        from oakum.sampling.negatives import draw_hard

        return draw_hard(run, batch, n, self.pool)
