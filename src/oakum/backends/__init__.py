"""Encoders: words become vectors. A protocol, three implementations, vectors kept on disk."""

from oakum.backends.embed import Embedder, embed, embedder, item_vectors

__all__ = ["Embedder", "embed", "embedder", "item_vectors"]
