"""Joint models: several modalities of one thing, made together or one from another."""

from mmdiff.joint.modality import Together
from mmdiff.joint.model import Joint, Shares
from mmdiff.joint.network import Bundled, Frozen, Given
from mmdiff.joint.packing import Packing
from mmdiff.joint.pairs import Pairs
from mmdiff.joint.turns import in_turn

__all__ = [
    "Bundled", "Frozen", "Given", "Joint", "Packing", "Pairs", "Shares", "Together", "in_turn",
]  # fmt: skip
