"""Generation: samples that are drawn from noise."""

from convnn.tasks.generate.edm import EDMSampler

__all__ = ["EDMSampler"]
