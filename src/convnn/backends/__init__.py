"""How the operators are computed: pure tensor functions, one package a backend.

Every backend has the same functions as `reference`, which defines them: `nearest`, `similarity`, `convolve` and the
gradients of the latter two. It says in `unavailable_reasons()` why it cannot run here at all, and in
`unsupported_reasons(request)` why it cannot run this.
"""
