"""Knowledge graphs: classes that nobody has seen, completion by reading a subgraph, and statements with qualifiers."""

from convnn.tasks.knowledge.zero_shot import UnseenClasses, ZeroShotGCN, zero_shot_hits, zero_shot_loss

__all__ = ["UnseenClasses", "ZeroShotGCN", "zero_shot_hits", "zero_shot_loss"]
