"""Implementations of the operators as pure tensor functions, one module or package per backend.

Every backend has the functions of `reference`, which defines them: `nearest`, `one_of_each`, `largest`, `similarity`,
`convolve` and the gradients of the last two. `unavailable_reasons()` tells why a backend cannot run here at all, and
`unsupported_reasons(request)` why it cannot compute a request.
"""
