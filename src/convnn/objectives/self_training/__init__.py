"""Self-training: labels, targets and helper tasks that a network gets from what it has."""

from convnn.objectives.self_training.soft_clusters import student_t_assignment, target_distribution

__all__ = ["student_t_assignment", "target_distribution"]
