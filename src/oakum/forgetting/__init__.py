"""Taking people out of a model so that it can be shown: the rows, the vectors, and a test of what is left."""

from oakum.forgetting.forget import Forgotten, digest_of, forget
from oakum.forgetting.membership import Membership, membership

__all__ = ["Forgotten", "Membership", "digest_of", "forget", "membership"]
