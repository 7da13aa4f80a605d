"""Fields of kernels whose level is a surface. Modules that need SciPy are imported where they are used."""

from convnn.models.surfaces.kernel_field import KernelFieldNetwork, kernel_field

__all__ = ["KernelFieldNetwork", "kernel_field"]
