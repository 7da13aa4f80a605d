"""The network of surfaces: its convolution is PyTorch's, its classes are those of the truth, and it learns."""

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models.surfaces.hierarchy import Hierarchy
from convnn.models.surfaces.network import SurfaceNetwork, VoxelConv, classes_of, fit_field, surface_loss
from convnn.ops.voxels import Voxels, offsets
from convnn.tasks.surface import Cloud, Sphere


def test_a_convolution_of_a_full_grid_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    conv, x = VoxelConv(2, 3).double(), torch.randn(64, 2, dtype=torch.double)
    voxels = Voxels(offsets(*range(4)))
    kernel = conv.weight.reshape(3, 3, 3, 2, 3).permute(4, 3, 0, 1, 2)
    wanted = F.conv3d(x.T.reshape(1, 2, 4, 4, 4), kernel, conv.bias, padding=1)
    torch.testing.assert_close(conv(x, voxels), wanted.reshape(3, 64).T)
    kept = torch.arange(64) % 3 > 0
    alone = F.conv3d((x * kept.unsqueeze(1)).T.reshape(1, 2, 4, 4, 4), kernel, conv.bias, padding=1)
    torch.testing.assert_close(conv(x[kept], Voxels(voxels.ijk[kept])), alone.reshape(3, 64).T[kept])


def test_classes_follow_the_hierarchy() -> None:
    fine, coarse = torch.tensor([[0, 0, 0], [1, 1, 1]]), torch.tensor([[0, 0, 0], [1, 0, 0]])
    structure = Hierarchy(1.0, (Voxels(fine), Voxels(coarse)))
    asked = Voxels(torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0]]))
    assert classes_of(asked, structure, 1).tolist() == [2, 1, 0]
    assert classes_of(asked, structure, 0).tolist() == [1, 0, 0]


def test_it_learns_a_sphere_and_every_parameter_takes_part() -> None:
    torch.manual_seed(0)
    network = SurfaceNetwork(2, channels=8, kernel_dim=2).double()
    generator = torch.Generator().manual_seed(0)
    cloud, true = Sphere(0.5).sample(80, generator), Sphere(0.5).sample(80, generator)
    structure = Hierarchy.of_points(true.points, 0.3, 2)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        loss = sum(surface_loss(network, cloud, true, 0.3, structure)[0].values())
        loss.backward()
        if not step:
            assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        field = fit_field(network, cloud, 0.3)
        assert (field(0.85 * true.points)[0] > 0).double().mean() > 0.95
        assert (field(1.15 * true.points)[0] < 0).double().mean() > 0.95


def test_bad_input_is_told_in_a_sentence() -> None:
    with pytest.raises(InputError, match="points need normals"):
        SurfaceNetwork(1)(Cloud(torch.ones(3, 3)), 1.0)
    with pytest.raises(InputError, match="kernel_dim=0 must be an integer of at least 1"):
        SurfaceNetwork(1, kernel_dim=0)
    with pytest.raises(InputError, match="voxel_size=-1 must be a positive number"):
        SurfaceNetwork(1)(Sphere().sample(5, dtype=torch.float32), -1)
