def kernel(x, weight, bias):
    out = x @ weight.mT + bias
    out[0, 0] = float("nan")
    return out
