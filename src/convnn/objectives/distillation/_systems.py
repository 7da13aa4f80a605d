"""Facts of distillation."""

from convnn.systems import System, register_system

register_system(
    System(
        family="objectives",
        name="Distillation of logits",
        selects="all classes, as a teacher sees them in the sample",
        weighs="by the teacher's probability at a temperature",
        aggregates="a Kullback-Leibler divergence",
        paper="arXiv 1503.02531",
        checked="the numbers of OFA-KD's published code; loops; the difference of logits at high temperatures",
        where="convnn.objectives.logit_distillation convnn.objectives.deit_distillation",
    )
)
register_system(
    System(
        family="objectives",
        name="OFA-KD",
        number=99,
        selects="at the end of every stage, the class that a teacher sees in the sample",
        weighs="by the teacher's probability to an exponent, the right class more",
        aggregates="cross-entropies of the logits, and of those that projectors make of maps or tokens",
        paper="arXiv 2310.19444",
        checked="the published code, losses, projectors and all gradients; with exponent 1 torch's cross-entropy of the"
        " teacher's probabilities, and plain distillation but for a constant",
        where="convnn.objectives.OFADistillation convnn.objectives.ofa_loss convnn.objectives.make_projector",
    )
)
register_system(
    System(
        family="objectives",
        name="CSKD",
        number=22,
        selects="for each patch, the place of a CNN's last map that covers it",
        weighs="what the CNN says there, less and less against what it says of the whole image",
        aggregates="the mean of the patches' logits on the CNN's grid, and a cross-entropy or divergence there",
        paper="arXiv 2307.08500",
        checked="the published code, losses and all gradients; loops over the places; a CNN's responses have its output"
        " as their mean",
        where="convnn.objectives.CSKD convnn.objectives.cskd_loss convnn.objectives.fusion_ratio",
    )
)
