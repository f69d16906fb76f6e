"""Taking people out of a model so that it can be shown: the rows, the vectors, and a test of what is left."""

from oakum.forgetting.forget import Forgotten, forget
from oakum.forgetting.membership import Membership, membership

__all__ = ["Forgotten", "Membership", "forget", "membership"]
