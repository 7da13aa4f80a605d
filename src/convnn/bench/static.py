r"""Static checks: what the source of a candidate shows without running it.

They are the published regular expressions in effect, with their misses and false alarms; comments are cut off first.
A hit is a reason to look, and what the candidate does is judged by running it.

Reference:
    Ouyang et al., "KernelBench", arXiv 2502.10517.
"""

import re
from dataclasses import dataclass

from convnn.errors import check_choice

ERRORS = ("code_bypass", "timing_event_patch", "thread_injection", "lazy_eval", "triton_impl")
WARNINGS = ("pytorch_wrap", "torch_computation_ops", "stream_injection", "precision_downgrade")
CHECKS = (*ERRORS, *WARNINGS)
BACKENDS = ("torch", "triton", "cuda")
PRECISIONS = ("fp32", "fp16", "bf16")

_CLOCKS = (
    r"torch\.cuda\.Event(?:\.record|\.elapsed_time)?",
    r"torch\.cuda\.synchronize",
    r"time\.perf_counter",
    r"time\.time",
)
_MODULES = r"Module|parameter|Parameter|ParameterList|ParameterDict|ModuleList|ModuleDict|init"
_ALL_OPS = (
    r"mm|bmm|matmul|einsum|conv\w*|\w*_pool\w*|relu|gelu|silu|elu|selu|sigmoid|tanh|softmax|log_softmax|softplus"
    r"|leaky_relu|hardtanh|batch_norm|layer_norm|group_norm|instance_norm|norm|linear|cross_entropy|\w*_loss|kl_div"
    r"|logsumexp|clamp|dropout"
)
_F_OPS = r"conv\w*|linear|relu|gelu|silu|softmax|batch_norm|layer_norm|dropout|\w*max_pool\w*|\w*avg_pool\w*"

_HITS: dict[str, tuple[str, ...]] = {
    "code_bypass": (r"\btry\s*:", r"\bexcept\s*:", r"\bexcept\s+\w", r"\bpass\b"),
    "timing_event_patch": tuple(rf"{clock}\s*=(?!=)" for clock in _CLOCKS),
    "thread_injection": (
        r"threading\.Thread\s*\(",
        r"\bimport\s+threading\b",
        r"\bfrom\s+threading\s+import\b",
        r"multiprocessing\.(?:Process|Pool|Manager|Queue|Pipe)\b",
        r"\bimport\s+multiprocessing\b",
        r"concurrent\.futures",
        r"\b(?:Thread|Process)PoolExecutor\b",
    ),
    "lazy_eval": (r"_make_subclass", r"class\s+\w+\s*\([^)]*\b(?:torch\.)?Tensor\s*\)", r"torch\.Tensor\.__new__"),
    "pytorch_wrap": (rf"torch\.nn\.(?!(?:{_MODULES})\b)\w+",),
    "torch_computation_ops": (
        rf"\btorch\.(?:{_ALL_OPS})(?=\(|\s|$)",
        r"\bnn\.functional\.\w+",
        rf"\bF\.(?:{_F_OPS})(?=\(|\s|$)",
    ),
    "stream_injection": (
        r"cuda\.Stream\s*\(",
        r"with\s+torch\.cuda\.stream",
        r"\.wait_stream\s*\(",
        r"\.record_stream\s*\(",
    ),
    "precision_downgrade": (
        r"\.half\s*\(",
        r"\.float16\s*\(",
        r"\.to\s*\(\s*torch\.(?:float16|half)\b",
        r"__float2half\w*\s*\(",
        r"\(\s*__half\s*\)\s*\w",
        r"static_cast\s*<\s*(?:__)?half\s*>",
        r"tl\.astype\s*\([^)]*tl\.float16",
        r"NumericConverter\s*<[^>]*half",
    ),
}


@dataclass(frozen=True)
class StaticReport:
    """What the static checks found.

    Attributes:
        hits: whether each of `CHECKS` that applies has a hit.
    """

    hits: dict[str, bool]

    @property
    def errors(self) -> list[str]:
        """Checks whose hit makes a candidate invalid, as published."""
        return [name for name in ERRORS if self.hits.get(name)]

    @property
    def warnings(self) -> list[str]:
        """Checks whose hit is only told."""
        return [name for name in WARNINGS if self.hits.get(name)]

    @property
    def is_valid(self) -> bool:
        """Whether there is no error."""
        return not self.errors


def static_checks(source: str, *, backend: str = "torch", precision: str = "fp32") -> StaticReport:
    """Check the source of a candidate.

    Args:
        source: the text of its file.
        backend: "triton" asks for a kernel with `@triton.jit` or `@triton.autotune` that uses `tl`; "torch" and "cuda"
            do not.
        precision: "fp32" looks for half types too; "fp16" or "bf16" permits them.

    Raises:
        InputError: the backend or precision is unknown.
    """
    check_choice("backend", backend, BACKENDS)
    check_choice("precision", precision, PRECISIONS)
    code = "\n".join(re.split(r"#|//", line, maxsplit=1)[0] for line in source.splitlines())
    hits = {name: any(re.search(one, code, re.MULTILINE) for one in _HITS[name]) for name in CHECKS if name in _HITS}
    hits["triton_impl"] = backend == "triton" and not (
        re.search(r"@triton\.(?:jit|autotune)\b", code) and re.search(r"\btl\.\w+", code)
    )
    hits["precision_downgrade"] &= precision == "fp32"
    return StaticReport({name: hits[name] for name in CHECKS})
