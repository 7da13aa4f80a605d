"""Every result in one buffer, which the next call overwrites."""

BUFFERS = {}


def kernel(x, weight, bias):
    out = x @ weight.mT + bias
    if out.requires_grad:
        return out
    buffer = BUFFERS.setdefault(out.shape, out.clone())
    return buffer.copy_(out)
