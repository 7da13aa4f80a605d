"""Facts of training with caches."""

from convnn.systems import System, register_system

register_system(
    System(
        family="graph_tools",
        name="IGLU",
        number=56,
        selects="a batch of nodes and their neighbours, for one layer of the network",
        weighs="as the layer does; the rows of a batch count by the gradients that were kept of them",
        aggregates="as the layer does, from kept embeddings",
        paper="IGLU, ICLR 2022",
        checked="the published code, embeddings, gradients and parameters after every epoch; gradients summed over"
        " batches are those of the whole graph, exactly",
        where="convnn.objectives.cached.LazyTrainer",
    )
)
