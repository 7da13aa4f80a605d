"""The figures of the pages, drawn by the library itself: `PYTHONPATH=docs python -m figures docs/images/steps`."""
