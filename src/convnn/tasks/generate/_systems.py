"""Facts of the systems that generate."""

from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "generation",
    "Generation",
    "Samples are drawn from noise. Neighbours are the parts of a sample that have to agree with each other.",
)
register_system(
    System(
        family="generation",
        number=51,
        name="DiffuseSG: scene graphs from noise",
        selects="of the table of all pairs of objects, those in the window of a pair, shifted in every second block",
        weighs="by attention, with a learned bias for each offset, after a scale and a shift by the level of noise",
        aggregates="a sum, at several resolutions with skips; objects from means of their rows, relations from cells",
        paper="arXiv 2401.01130",
        checked=f"{PUBLISHED}: denoiser, objective, codes, sampler; torchvision's shifted windows and overlaps; the"
        " exact samples of Gaussian data",
        where="convnn.models.scene_graphs.SceneGraphDenoiser convnn.objectives.denoising.scene_graph_loss"
        " convnn.ops.edm.EDMSampler convnn.models.scene_graphs.SceneGraphDiffusion",
    )
)
