import pytest
import torch

from convnn.data.augment import flip_and_crop, random_crop, random_flip
from convnn.data.seeds import Draws, make_generator

SHAPES = [(16, 3, 32, 32), (16, 1, 8, 8), (16, 2, 16, 24), (1, 3, 8, 40), (0, 3, 32, 32)]


def draws_for(images: torch.Tensor) -> Draws:
    return Draws(make_generator("augment"), len(images), torch.arange(len(images)))


def random_images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=make_generator("images"))


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_matches_a_loop_over_the_images(shape):
    images = random_images(shape)
    result = random_flip(images, draws_for(images))
    draws = torch.rand(shape[0], generator=make_generator("augment"))
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    for image, changed, draw in zip(images, result, draws, strict=True):
        assert torch.equal(changed, image.flip(-1) if draw < 0.5 else image)


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_matches_padding_and_cutting_one_image_at_a_time(shape):
    images = random_images(shape)
    result = random_crop(images, draws_for(images))
    height, width = shape[-2:]
    top, left = height // 8, width // 8
    generator = make_generator("augment")
    rows = torch.randint(-top, top + 1, (shape[0],), generator=generator)
    columns = torch.randint(-left, left + 1, (shape[0],), generator=generator)
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    for image, changed, row, column in zip(images, result, rows, columns, strict=True):
        padded = torch.nn.functional.pad(image[None].float(), (left, left, top, top), mode="reflect")[0]
        window = padded[:, top + row : top + row + height, left + column : left + column + width]
        assert torch.equal(changed.float(), window)


def test_crops_reach_every_shift_and_leave_small_images_alone():
    ramp = torch.arange(32, dtype=torch.uint8).view(1, 1, 1, 32).expand(512, 1, 32, 32)
    middles = random_crop(ramp, draws_for(ramp))[:, 0, 16, 16]
    assert middles.unique().tolist() == list(range(12, 21))
    small = random_images((64, 3, 7, 7))
    assert torch.equal(random_crop(small, draws_for(small)), small)


def test_about_half_of_the_images_are_flipped():
    images = random_images((1000, 1, 4, 4))
    unchanged = (random_flip(images, draws_for(images)) == images).flatten(1).all(1)
    assert 400 < unchanged.sum().item() < 600


def test_flip_and_crop_draws_anew_for_each_image():
    images = random_images((1, 3, 32, 32)).expand(64, 3, 32, 32)
    results = {image.numpy().tobytes() for image in flip_and_crop(images, draws_for(images))}
    assert len(results) > 32
