import ctypes


def kernel(x, weight, bias):
    ctypes.string_at(0)
