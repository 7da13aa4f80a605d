"""Recommendation: what users are suggested, and what that is worth."""

from convnn.tasks.recommend.ranker import FIGURES, Ranker

__all__ = ["FIGURES", "Ranker"]
"""The training is that of everything else: `convnn.models.Recommender` on `convnn.data.INTERACTION_SETS`."""
