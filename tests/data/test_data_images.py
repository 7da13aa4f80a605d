from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.data import denormalise, load_image
from convnn.data.images import channel_values, normalise
from convnn.errors import InputError

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
RED = (200, 40, 60)


def read_colours(path: Path, size: int = 4) -> torch.Tensor:
    return denormalise(load_image(path, (3, size, size), MEAN, STD), MEAN, STD) * 255


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_pictures_of_every_colour_mode_come_as_rgb(tmp_path, mode):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    Image.new("RGB", (6, 5), RED).convert(mode).save(path)
    expected = torch.tensor(RED, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    # The web palette of mode P has steps of 51.
    torch.testing.assert_close(read_colours(path), expected, atol=26 if mode == "P" else 0.01, rtol=0)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_pictures_come_as_three_equal_channels(tmp_path, mode):
    path = tmp_path / "picture.png"
    Image.new("L", (6, 5), 255).convert(mode).save(path)
    torch.testing.assert_close(read_colours(path), torch.full((1, 3, 4, 4), 255.0))


def test_a_palette_with_transparent_entries_is_read_without_a_warning(tmp_path):
    path = tmp_path / "picture.png"
    picture = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).convert("P")
    picture.save(path, transparency=bytes([0, 128, 255]))
    assert read_colours(path).shape == (1, 3, 4, 4)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    path = tmp_path / "picture.gif"
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    torch.testing.assert_close(read_colours(path)[0, :, 0, 0], torch.tensor([255.0, 0.0, 0.0]))


def test_one_channel_asks_for_gray(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (9, 9), (100, 100, 100)).save(path)
    image = load_image(path, (1, 8, 8), (0.1,), (0.5,))
    torch.testing.assert_close(image, torch.full((1, 1, 8, 8), (100 / 255 - 0.1) / 0.5))


@pytest.mark.parametrize("turned", [False, True])
def test_the_longer_side_is_cropped_around_the_centre(tmp_path, turned):
    picture = np.zeros((8, 24, 3), dtype=np.uint8)
    picture[:, 8:16] = 255
    path = tmp_path / "picture.png"
    Image.fromarray(picture.transpose(1, 0, 2) if turned else picture).save(path)
    torch.testing.assert_close(read_colours(path, size=8), torch.full((1, 3, 8, 8), 255.0))


def test_a_picture_of_the_right_size_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    colours = denormalise(load_image(path, (3, 5, 7), MEAN, STD), MEAN, STD) * 255
    assert torch.equal(colours.round().byte()[0], torch.from_numpy(pixels).permute(2, 0, 1))


def test_shrinking_is_antialiased(tmp_path):
    path = tmp_path / "picture.png"
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(path)
    inner = read_colours(path, size=8)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 127.5), atol=2, rtol=0)


def test_denormalise_undoes_normalise_and_clamps():
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = normalise(pixels, channel_values(MEAN), channel_values(STD))
    torch.testing.assert_close(denormalise(images, MEAN, STD), pixels / 255)
    assert denormalise(torch.full((1, 3, 1, 1), 99.0), MEAN, STD).max() == 1
    assert denormalise(torch.full((1, 3, 1, 1), -99.0), MEAN, STD).min() == 0


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the image .*nowhere\.png: No such file"):
        load_image(tmp_path / "nowhere.png", (3, 8, 8), MEAN, STD)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_broken_picture_is_named(tmp_path, content):
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read the image .*picture\.jpg: it is broken or not a picture"):
        load_image(path, (3, 8, 8), MEAN, STD)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "webp"])
def test_a_truncated_picture_is_named(tmp_path, kind):
    path = tmp_path / f"picture.{kind}"
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cannot read the image .*picture\.{kind}: it is broken"):
        load_image(path, (3, 8, 8), MEAN, STD)


def test_pictures_of_sixteen_bits_are_refused_rather_than_clipped(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.full((4, 4), 30000, dtype=np.uint16)).save(path)
    with pytest.raises(InputError, match=r"picture\.png: it has more than 8 bits per channel \(mode I;16\)"):
        load_image(path, (3, 4, 4), MEAN, STD)
