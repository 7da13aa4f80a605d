"""Networks for other runtimes: ONNX and torch.export files that run where convnn is not installed."""

from convnn.export._onnx import export_onnx
from convnn.export._program import export_torch
from convnn.export._trace import trace

__all__ = ["export_onnx", "export_torch", "trace"]
