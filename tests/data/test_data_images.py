import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.data import FITS, denormalise, load_image
from convnn.data.images import BrokenImageError, channel_values, fit_picture, normalise, read_image
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


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def turned(kind: str, orientation: int) -> bytes:
    """Return the picture that a camera in some orientation saves, which is PIXELS when upright."""
    undo = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.transpose(1, 0, 2)}
    undo |= {6: np.rot90, 7: lambda x: np.rot90(x, 2).transpose(1, 0, 2), 8: lambda x: np.rot90(x, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    lossless = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    Image.fromarray(np.ascontiguousarray(undo[orientation](PIXELS))).save(file, kind, exif=exif, **lossless)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_set_upright_as_its_camera_says(tmp_path, orientation, kind):
    path = tmp_path / "picture"
    path.write_bytes(turned(kind, orientation))
    assert np.array_equal(np.asarray(read_image(path)), PIXELS)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01"]
)
def test_a_picture_whose_exif_data_are_broken_is_read_as_it_is(tmp_path, exif):
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert np.array_equal(np.asarray(read_image(path)), PIXELS)


def test_an_orientation_that_is_none_changes_nothing(tmp_path):
    path, exif = tmp_path / "picture.png", Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert np.array_equal(np.asarray(read_image(path)), PIXELS)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_lightness_and_two_colours_is_read(tmp_path, channels):
    path = tmp_path / "picture.tif"
    Image.new("LAB", (6, 5), (255, 128, 128)).save(path)
    assert np.asarray(read_image(path, channels)).min() > 250


def test_whatever_a_decoder_raises_is_a_broken_image(tmp_path):
    """A TIFF damaged byte by byte makes Pillow raise TypeError, KeyError, struct.error and more."""
    file = io.BytesIO()
    Image.effect_noise((9, 9), 50).save(file, "TIFF")
    whole, path, broken = file.getvalue(), tmp_path / "picture.tif", 0
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_image(path)
            except BrokenImageError:
                broken += 1
    assert broken > 5


class Fails:
    """A stand-in for a decoder."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *_: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [KeyError(3), TypeError("x"), struct.error("y"), ZeroDivisionError(), RecursionError()]
)
def test_no_error_of_a_decoder_is_a_traceback(tmp_path, monkeypatch, error):
    monkeypatch.setattr(Image, "open", Fails(error))
    with pytest.raises(BrokenImageError, match=r"cannot read the image .*one\.tif: it is broken or not a picture"):
        read_image(tmp_path / "one.tif")


def test_too_little_memory_is_no_broken_image(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "open", Fails(MemoryError()))
    with pytest.raises(MemoryError):
        read_image(tmp_path / "one.tif")


def test_a_picture_is_cropped_padded_or_stretched():
    picture = Image.new("L", (12, 6), 255)
    picture.paste(100, (3, 0, 9, 6))
    crop, pad, stretch = (np.asarray(fit_picture(picture, (6, 6), how)) for how in FITS)
    assert (crop == 100).all()
    assert pad[[0, 5]].max() == 0
    assert (pad[2:4, 2:4] == 100).all()
    assert pad[2:4, [0, 5]].min() == 255
    assert (stretch[:, 2:4] == 100).all()
    assert stretch[:, [0, 5]].min() == 255


@pytest.mark.parametrize("how", FITS)
def test_a_picture_of_the_right_size_is_the_same_however_it_would_be_fitted(how):
    assert np.array_equal(np.asarray(fit_picture(Image.fromarray(PIXELS), (6, 4), how)), PIXELS)


def test_an_unknown_way_to_fit_is_named(tmp_path):
    with pytest.raises(InputError, match=r"fit='corp' is not one of crop, pad, stretch; did you mean 'crop'"):
        load_image(tmp_path / "nowhere.png", (3, 8, 8), MEAN, STD, "corp")
