"""Deep kernel machines: networks that never have features, only inner products of points with inducing points.

What flows from layer to layer is a triple `Gram(ii, ti, t)`. Modules map triples to triples, so that `nn.Sequential`
makes a machine of them: `FeatureGram` or `PatchGram` makes the first; a `KernelLayer` applies a kernel of
`learners.kernels` that is a function of inner products; a `GramLayer` moves the inducing points to where the data want
them, at a cost; `GramConv2d`, `GramNorm`, `GramSkip` and pooling are what their names say; `GaussianOutput` ends it.
"""
