"""One-for-all distillation: networks of different kinds can compare logits only, so every stage gets some."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from convnn.errors import InputError, check_positive
from convnn.objectives.distillation.logits import check_logits, target_classes


def ofa_loss(
    student: Tensor, teacher: Tensor, target: Tensor, *, exponent: float = 1.0, temperature: float = 1.0
) -> Tensor:
    r"""Return the cross-entropy with a teacher's distribution in which the right class weighs more.

    .. math:: \frac{1}{B} \sum_{b} \left[ -\left( (1 + p_y)^{\gamma} - 1 \right) \log q_y
        - \sum_{c \neq y} p_c^{\gamma} \log q_c \right]

    with :math:`p = \operatorname{softmax}(t_b / T)` and :math:`q = \operatorname{softmax}(s_b / T)`. With
    :math:`\gamma = 1` it is the cross-entropy with p, whose gradients are those of `logit_distillation` over
    :math:`T^2`. A larger exponent raises the weight of the right class and lowers all others. The teacher gets no
    gradient.

    Args:
        student: (B, K) logits s, of the student or of one of its stages.
        teacher: (B, K) logits t.
        target: the right classes y, (B,) int64; or (B, K) shares of mixed classes, of which the largest is right.
        exponent: gamma, positive.
        temperature: T, positive.

    Raises:
        InputError: shapes differ, a class does not exist, or exponent or temperature is not positive.

    Reference:
        Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation",
        arXiv 2310.19444; as in its code, which has the exponent on all classes.
    """
    check_logits(student, teacher)
    check_positive("exponent", exponent)
    check_positive("temperature", temperature)
    right = target_classes(target, student).unsqueeze(1)
    p, log_q = (teacher.detach() / temperature).softmax(1), (student / temperature).log_softmax(1)
    enhanced = (1 + p.gather(1, right)).pow(exponent) - 1
    weights = p.pow(exponent).scatter(1, right, enhanced)
    return -(weights * log_q).sum() / max(student.shape[0], 1)


class OFADistillation(nn.Module):
    r"""Teaches the logits of a student, and those that projectors make of its features, by a teacher's logits.

    .. math:: L_{\text{logits}} = \ell_{\gamma_n}(s, t), \qquad
        L_{\text{features}} = \sum_{k=0}^{n-1} \ell_{\gamma_k}(\operatorname{Proj}_k(F_k), t)

    for the loss :math:`\ell_\gamma` of `ofa_loss`; to both is added the loss of the labels, each with a weight,
    1 by default.

    Args:
        projectors: what maps each feature of the student to logits, by a name without dots, such as its stage; see
            `make_projector`. They are trained with the student, and not needed afterwards.
        exponents: gamma of each of them, and last that of the logits; one stands for all.
        temperature: T.

    Raises:
        InputError: there are neither one nor n + 1 exponents, or a number is not positive.

    Reference:
        Hao et al., arXiv 2310.19444.
    """

    def __init__(
        self, projectors: Mapping[str, nn.Module], *, exponents: Sequence[float] = (1.0,), temperature: float = 1.0
    ) -> None:
        super().__init__()
        needed = len(projectors) + 1
        if len(exponents) not in (1, needed):
            raise InputError(
                f"exponents={tuple(exponents)} must be one number, or {needed}: one for each of"
                f" {len(projectors)} projectors, then that of the logits"
            )
        for exponent in exponents:
            check_positive("exponent", exponent)
        check_positive("temperature", temperature)
        self.projectors = nn.ModuleDict(projectors)
        self.exponents = tuple(exponents) * (needed // len(exponents))
        self.temperature = temperature

    def project(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits (B, K) of every feature, by name."""
        return {name: projector(features[name]) for name, projector in self.projectors.items()}

    def forward(
        self, student: Tensor, features: Mapping[str, Tensor], teacher: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return both losses, unweighted.

        Args:
            student: (B, K) logits.
            features: what the projectors read, by their names.
            teacher: (B, K) logits.
            target: the right classes, as in `ofa_loss`.
        """

        def loss(logits: Tensor, exponent: float) -> Tensor:
            return ofa_loss(logits, teacher, target, exponent=exponent, temperature=self.temperature)

        *of_features, of_logits = self.exponents
        heads = (head.to(student.dtype) for head in self.project(features).values())
        losses = (loss(head, exponent) for head, exponent in zip(heads, of_features, strict=True))
        return loss(student, of_logits), sum(losses, start=student.new_zeros(()))
