"""Facts of the coding of video."""

from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "coding",
    "Coding",
    "Clips as few bits: neighbours are the positions that motion brings from the frame before, and those of a latent"
    " that are decoded already.",
)
register_system(
    System(
        family="coding",
        number=52,
        name="OpenDCVCs: conditional video coding",
        selects="of each position the one where its motion leads in the frame before, or several; of a latent what was"
        " decoded earlier: above and to the left, on the other fields of a checkerboard, or at other places of 2 x 2",
        weighs="by bilinear shares and masks; by the probability that a prior gives to each symbol",
        aggregates="convolutions of a frame with its context, to a latent and back; bits and distortion are one loss",
        paper="arXiv 2109.15047, 2207.05894, 2302.14402",
        checked=f"{PUBLISHED}, of the whole network too; CompressAI's GDN; streams that decode to the same frames, and"
        " whose length is near the estimate",
        where="convnn.models.coding.DCVC convnn.models.coding.VideoCodec convnn.nn.compression.GDN"
        " convnn.nn.compression.AutoregressivePrior convnn.nn.compression.CheckerboardPrior"
        " convnn.nn.compression.QuadPrior convnn.nn.compression.OffsetDiversity convnn.tasks.code.encode",
    )
)
