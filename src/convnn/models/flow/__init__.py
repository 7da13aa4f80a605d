"""Networks for optical flow and matching: two images to the motion of every pixel."""

from convnn.models.flow._motion import MotionNetwork
from convnn.models.flow.estimators import SKFlowNetwork
from convnn.models.flow.matchers import HoughNetwork, RegressionNetwork
from convnn.models.flow.skflow import SKFlow, skflow

__all__ = ["HoughNetwork", "MotionNetwork", "RegressionNetwork", "SKFlow", "SKFlowNetwork", "skflow"]
