"""Folders of images: all that is there is read as it was meant, or a line says what is not."""

import errno
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from jaxgan import data
from jaxgan.data import folders, images, labels


def save(path, value=0, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, 255)).save(path, **options)


def load(path):
    """The images' red values, and what was said but for the last line and for copies."""
    lines = []
    dataset = data.load(f"folder:{path}", image_size=8, log=lines.append)
    lines = [line for line in lines if "have the same pixels" not in line]
    return sorted(np.concatenate([dataset.train, dataset.test])[:, 0, 0, 0]), lines[:-1]


def changed(then, now):
    files = f"{then} then, {now} now"
    return f"the files have changed since they were decoded ({files}): decoding all again"


# Links ---------------------------------------------------------------------------------------


def test_linked_folders_are_read_as_if_they_were_there(tmp_path):
    for i in range(3):
        save(tmp_path / "elsewhere" / "deep" / f"{i}.png", i)
        save(tmp_path / "set" / "a" / f"{i}.png", 10 + i)
    os.symlink(tmp_path / "elsewhere", tmp_path / "set" / "b")
    os.symlink("../elsewhere/deep/0.png", tmp_path / "set" / "one.png")
    values, lines = load(tmp_path / "set")
    assert values == [0, 1, 2, 10, 11, 12]
    assert lines[0] == "left out: one.png (the same image as b/deep/0.png)"
    assert len(lines) == 2 and lines[1].startswith("the 2 sub-folders (a, b) are read as one set")

    moved = folders.find_images(tmp_path / "set").files
    (tmp_path / "set" / "b").unlink()
    os.rename(tmp_path / "elsewhere", tmp_path / "set" / "b")
    (tmp_path / "set" / "one.png").unlink()
    assert folders.find_images(tmp_path / "set").files == moved  # the same order of the data


def test_a_folder_of_links_alone_is_a_set(tmp_path):
    save(tmp_path / "elsewhere" / "0.png", 1)
    save(tmp_path / "elsewhere" / "1.png", 2)
    (tmp_path / "set").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "set" / "only")
    assert load(tmp_path / "set") == ([1, 2], [])
    os.symlink(tmp_path / "set", tmp_path / "link")
    assert load(tmp_path / "link") == ([1, 2], [])


def test_the_order_is_that_of_the_paths_whatever_is_a_link(tmp_path):
    save(tmp_path / "elsewhere" / "x.png", 1)
    save(tmp_path / "set" / "b.png", 2)
    save(tmp_path / "set" / "c" / "a.png", 3)
    os.symlink(tmp_path / "elsewhere" / "x.png", tmp_path / "set" / "a.png")
    found = folders.find_images(tmp_path / "set").files
    assert [str(path.relative_to(tmp_path / "set")) for path in found] == [
        *("a.png", "b.png", "c/a.png")
    ]


def test_links_in_circles_end_and_no_folder_is_read_twice(tmp_path):
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    save(root / "z" / "0.png", 1)
    save(elsewhere / "below" / "1.png", 2)
    save(tmp_path / "not-in-the-set.png", 3)
    links = {
        root / "a": root / "z",  # before it in the alphabet, and yet z keeps its path
        root / "self": root,
        root / "up": tmp_path,
        root / "first": elsewhere,
        root / "second": elsewhere / "below",
        elsewhere / "below" / "back": elsewhere,
        root / "round": root / "round",
        root / "nowhere": tmp_path / "unmounted",
    }
    for link, target in links.items():
        os.symlink(target, link)
    values, lines = load(root)
    assert values == [1, 2]
    assert folders.find_images(root).files[1] == root / "z" / "0.png"
    said = lines[0].removeprefix("left out: ").split(", ")
    assert sorted(said) == [
        "a (the same folder as z)",
        "first/below/back (a link to a folder that holds it)",
        "nowhere (a link to nowhere)",
        "round (a link to nowhere)",
        "second (the same folder as first/below)",
        "self (a link to a folder that holds it)",
        "up (a link to a folder that holds it)",
    ]


def test_an_image_is_read_once_however_many_links_lead_to_it(tmp_path):
    """Two of it could be a training example and its own held-out twin."""
    for i in range(3):
        save(tmp_path / "set" / "z" / f"{i}.png", i)
        os.symlink(f"z/{i}.png", tmp_path / "set" / f"{i}.png")
    save(tmp_path / "elsewhere.png", 3)
    for name in ("p.png", "q.png"):
        os.symlink("../elsewhere.png", tmp_path / "set" / name)
    values, lines = load(tmp_path / "set")
    assert values == [0, 1, 2, 3]
    said = ", ".join(f"{i}.png (the same image as z/{i}.png)" for i in range(3))
    assert lines == [f"left out: {said}, q.png (the same image as p.png)"]


# What is not read ----------------------------------------------------------------------------


def test_a_folder_that_may_not_be_read_is_named():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for i in range(3):
            save(root / "open" / f"{i}.png", i)
        save(root / "closed" / "3.png", 3)
        assert load(root)[0] == [0, 1, 2, 3]
        root.chmod(0o755)
        (root / "closed").chmod(0)
        user = os.geteuid()
        try:
            if user == 0:  # who may read everything
                os.seteuid(65534)
            values, lines = load(root)
            assert values == [0, 1, 2] and lines[0] == "left out: closed (Permission denied)"
        finally:
            os.seteuid(user)
            (root / "closed").chmod(0o755)


def test_files_of_other_kinds_are_counted_by_their_suffixes(tmp_path):
    for suffix, count in {"jfif": 2, "jpe": 2, "JPG": 2}.items():
        for i in range(count):
            save(tmp_path / f"{i}.{suffix}", 7, format="JPEG", quality=100)
    save(tmp_path / "a.ppm", 7)
    Image.new("L", (8, 8), 7).save(tmp_path / "a.pgm")
    Image.new("1", (8, 8), 1).save(tmp_path / "a.pbm")
    for name in ("1.AVIF", "2.avif", "3.heic", "notes.txt", "Makefile", ".hidden.txt", ".git/x.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    values, lines = load(tmp_path)
    assert len(values) == 9 and values[-1] == 255
    assert np.abs(np.int32(values[:-1]) - 7).max() <= 1
    assert lines == [
        "passed over 5 files of other kinds: 2 .avif, 1 without a suffix, 1 .heic, 1 .txt"
    ]


def test_a_folder_without_an_image_says_what_it_has_instead(tmp_path):
    (tmp_path / "a.heic").touch()
    os.symlink("gone", tmp_path / "b")
    with pytest.raises(ValueError, match=r"no images under .*; left out: b .*; passed over 1 file"):
        load(tmp_path)


def test_many_kinds_are_one_short_line(tmp_path):
    for i in range(3000):
        (tmp_path / f"scan.{i:04}").touch()
    save(tmp_path / "0.png")
    save(tmp_path / "1.png")
    [line] = load(tmp_path)[1]
    assert line.startswith("passed over 3000 files of other kinds: 1 .0000, 1 .0001, ")
    assert line.endswith(", 1 .0009 and 2990 more")


def test_names_that_are_no_text_can_be_printed():
    """By whoever calls the library, whose terminal is as strict as any."""
    code = """
import os, sys, tempfile
from PIL import Image
from jaxgan import data
folder = os.fsencode(tempfile.mkdtemp()) + b"/caf\\xe9"
os.makedirs(folder + b"/a\\xff")
os.makedirs(folder + b"/b")
for i in range(3):
    Image.new("RGB", (8, 8), (i, 0, 0)).save(os.fsdecode(folder + b"/a\\xff/%d.png" % i))
for name in (b"/a\\xff/bad\\xff.png", b"/b/\\xff.t\\xff", b"/b/bad.png"):
    open(folder + name, "w").close()
os.symlink("gone", folder + b"/\\xff")
print(len(data.load("folder:" + os.fsdecode(folder), image_size=8).train))
"""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2" and r"bad\udcff.png (" in done.stdout


@pytest.mark.parametrize("written", ["metrics.jsonl", "checkpoints/1/state"])
def test_the_pictures_of_runs_are_no_data(tmp_path, written):
    for i in range(2):
        save(tmp_path / f"{i}.png", i)
    run = tmp_path / "runs" / "digits-wgan-0"
    save(run / "samples" / "000100.png", 9)
    (run / written).parent.mkdir(parents=True, exist_ok=True)
    (run / written).touch()
    assert load(tmp_path)[0] == [0, 1, 9]
    (run / "config.json").touch()
    left_out = "left out: runs/digits-wgan-0 (a run's folder)"
    assert load(tmp_path) == ([0, 1], [left_out, changed(3, 2)])


def test_images_of_which_only_the_first_frame_is_read_are_counted(tmp_path):
    frames = [Image.new("RGB", (8, 8), (value, 0, 255)) for value in (5, 80, 160)]
    for name in ("a.tif", "b.gif", "c.png", "d.webp"):
        options = {"lossless": True} if name == "d.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    save(tmp_path / "one.png", 7)
    save(tmp_path / "one.gif", 7)
    values, lines = load(tmp_path)
    assert values == [5, 5, 5, 5, 7, 7]
    assert lines == [
        "4 of 6 images have more frames, and only the first of each is read: a.tif, b.gif, c.png, "
        "d.webp"
    ]


def test_a_broken_second_frame_takes_nothing_from_the_first(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (5, 80)]
    for i in range(2):
        path = tmp_path / f"{i}.gif"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        path.write_bytes(path.read_bytes()[:-25])
    assert load(tmp_path)[0] == [5, 5]


def test_files_that_vanish_while_others_are_read_are_named(tmp_path, monkeypatch):
    for i in range(4):
        save(tmp_path / f"{i}.png", i)
    find = folders.find_images

    def find_and_lose(root):
        found = find(root)
        (root / "3.png").unlink()
        return found

    monkeypatch.setattr(folders, "find_images", find_and_lose)
    skipped = "skipped 1 of 4 images: 3.png (it has vanished)"
    again = "1 of those skipped are tried again the next time: 3.png"
    assert load(tmp_path) == ([0, 1, 2], [skipped, again])


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EINVAL])
def test_what_a_disk_refused_once_is_tried_again_and_what_is_broken_is_not(
    tmp_path, monkeypatch, code
):
    """A file server that was away for a minute leaves no holes in what is kept."""
    for i in range(4):
        save(tmp_path / f"{i}.png", i)
    (tmp_path / "broken.png").write_text("no image")
    opened, tried = Image.open, []

    def refuse(path, **options):
        tried.append(path.name)
        if path.name == "2.png":
            raise OSError(code, os.strerror(code))
        return opened(path, **options)

    with monkeypatch.context() as away:
        away.setattr(Image, "open", refuse)
        values, lines = load(tmp_path)
    assert values == [0, 1, 3] and "2.png" in tried
    assert f"2.png ({os.strerror(code)})" in lines[0]
    values, more = load(tmp_path)
    if code == errno.EINVAL:  # as of a broken file that points before its own beginning
        assert values == [0, 1, 3] and more == lines
    else:
        assert lines[1] == "1 of those skipped are tried again the next time: 2.png"
        assert values == [0, 1, 2, 3]
        assert more == [
            "going on with an interrupted decoding: 2 of 5 are left",
            "skipped 1 of 5 images: broken.png (not an image that can be read)",
        ]


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_damaged_metadata_take_nothing_from_the_pixels(tmp_path, suffix):
    for i in range(2):
        save(tmp_path / f"{i}.{suffix}", 200, exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff")
        save(tmp_path / f"{i}x.{suffix}", 200, exif=b"garbage")
    values, lines = load(tmp_path)
    assert np.abs(np.int32(values) - 200).max() <= 3 and len(values) == 4
    assert not lines


@pytest.mark.parametrize("size", [(16, 96), (96, 16)])
def test_a_photograph_on_its_side_is_as_sharp_as_one_that_stands(tmp_path, size):
    """Large JPEGs are decoded smaller, which must go by the sides as they lie in the file."""
    random = np.random.RandomState(0)
    upright = Image.fromarray(random.randint(0, 256, (48, 192, 3), np.uint8))
    upright = upright.resize((800, 400), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    for orientation, back in (
        (6, Image.Transpose.ROTATE_90),
        (1, None),
        (3, Image.Transpose.ROTATE_180),
    ):
        exif[0x0112] = orientation
        stored = upright if back is None else upright.transpose(back)
        stored.save(tmp_path / f"{orientation}.jpg", exif=exif, quality=95)
    expected = ImageOps.fit(upright, size[::-1], Image.Resampling.BICUBIC)
    for orientation in (1, 3, 6):
        got = images.decode(tmp_path / f"{orientation}.jpg", (*size, 3), resize=True)
        error = np.abs(np.int32(got) - np.int32(expected))
        assert error.mean() < 3, orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_all_ways_to_turn_a_photograph_are_those_of_pillow(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    y, x = np.mgrid[:24, :40]
    image = Image.fromarray(np.uint8(np.stack([6 * x, 10 * y, 3 * x + 2 * y], axis=-1)))
    image.save(tmp_path / f"x.{suffix}", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / f"x.{suffix}"))
    shape = (*expected.size[::-1], 3)
    got = images.decode(tmp_path / f"x.{suffix}", shape, resize=False)
    np.testing.assert_array_equal(got, np.asarray(expected))


def test_held_out_images_that_are_trained_on_too_are_named(tmp_path):
    for i in range(12):
        save(tmp_path / f"{i:02}.png", i)
    lines = []
    dataset = data.load(f"folder:{tmp_path}", image_size=8, log=lines.append)
    assert len(lines) == 1
    held_out = int(dataset.test[0, 0, 0, 0])
    shutil.copy(tmp_path / f"{held_out:02}.png", tmp_path / f"{11 - held_out:02}.png")
    data.load(f"folder:{tmp_path}", image_size=8, log=lines.append)
    assert lines[-2] == (
        "1 of the 1 held-out images have the same pixels as one to train on, and flatter scores: "
        f"{held_out:02}.png"
    )


def test_one_truncated_file_among_thousands_is_named(tmp_path):
    save(tmp_path / "0000.png")
    good = (tmp_path / "0000.png").read_bytes()
    for i in range(1, 2000):
        (tmp_path / f"{i:04}.png").write_bytes(good if i != 1234 else good[:-30])
    values, lines = load(tmp_path)
    assert len(values) == 1999
    assert len(lines) == 1 and lines[0].startswith("skipped 1 of 2000 images: 1234.png (")


def test_a_folder_that_fits_neither_disk_nor_memory_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(images, "memory", lambda: 5 * 8 * 8 * 3)
    (tmp_path / "set").mkdir()
    for i in range(3):
        (tmp_path / "set" / f"{i}.png").touch()
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXGAN_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot be kept in .*more than half of this machine's"):
        load(tmp_path / "set")


def test_images_of_one_pixel_are_enlarged(tmp_path):
    for i in range(2):
        save(tmp_path / f"{i}.png", 5, size=(1, 1))
        save(tmp_path / f"{i}.gif", 5, size=(1, 300))
    assert load(tmp_path) == ([5] * 4, [])


# Scans of more than 8 bits -------------------------------------------------------------------


def scan(path, values, **tags):
    """Saves grey of 16 bits, with tags of TIFF."""
    path.parent.mkdir(exist_ok=True)
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in tags.items():
        info[int(number.strip("_"))] = value
    options = {"tiffinfo": info} if tags else {}
    Image.fromarray(np.full((8, 8), values, np.uint16)).save(path, **options)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_white_of_a_scan_is_white_whatever_its_bits(tmp_path, bits, suffix):
    white = 2**bits - 1
    for i, value in enumerate((0, white // 2 + 1, white)):
        scan(tmp_path / f"{i}.{suffix}", value)
    values, lines = load(tmp_path)
    assert values == [0, 128, 255]
    assert lines == [
        f"16-bit grey in 3 of 3 images, up to {white}: taken to be of {bits} bits, white at {white}"
    ]


def test_all_scans_of_a_folder_have_one_scale_and_other_images_their_own(tmp_path):
    """Or a dark scan would be as light as a light one."""
    for i, value in enumerate((100, 1000, 4000)):
        scan(tmp_path / f"{i}.png", value)
    Image.new("L", (8, 8), 77).save(tmp_path / "usual.png")
    values, lines = load(tmp_path)
    assert values == [100 // 16, 1000 // 16, 77, 4000 // 16]
    assert lines[0].startswith("16-bit grey in 3 of 4 images, up to 4000: taken to be of 12 bits")


def test_what_a_tiff_says_of_its_largest_value_counts(tmp_path):
    for i, value in enumerate((100, 900)):
        scan(tmp_path / "said" / f"{i}.tif", value, _281=4095)
        scan(tmp_path / "unsaid" / f"{i}.tif", value)
        scan(tmp_path / "default" / f"{i}.tif", value, _281=65535)
    assert load(tmp_path / "said")[0] == [100 // 16, 900 // 16]
    assert load(tmp_path / "unsaid")[0] == load(tmp_path / "default")[0] == [100 // 4, 900 // 4]


def twelve_bit_tiff(values):
    """A TIFF of 8x8 whose samples are packed, three bytes for two."""
    pairs = np.broadcast_to(np.uint16(values), (32, 2)).astype(np.uint32)
    both = pairs[:, 0] << 12 | pairs[:, 1]
    pixels = np.stack([both >> 16, both >> 8, both], axis=1).astype(np.uint8).tobytes()
    tags = [(256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 8 + 2 + 12 * 8 + 4)]
    tags += [(277, 1), (279, len(pixels))]
    entries = b"".join(
        np.array([n, 3], "<u2").tobytes() + np.array([1, v], "<u4").tobytes() for n, v in tags
    )
    head = b"II*\0" + np.uint32(8).tobytes() + np.uint16(len(tags)).tobytes()
    return head + entries + bytes(4) + pixels


def test_a_tiff_of_12_bits_keeps_its_scale_beside_scans_of_16(tmp_path):
    (tmp_path / "12.tif").write_bytes(twelve_bit_tiff((4095, 4095)))
    scan(tmp_path / "16.tif", 0x8000)
    values, lines = load(tmp_path)
    assert values == [0x80, 255]
    assert lines[0].startswith("16-bit grey in 1 of 2 images, up to 32768")


def test_a_pgm_says_what_white_is(tmp_path):
    for i, value in enumerate((1000, 500)):
        pixels = np.full((8, 8), value, ">u2").tobytes()
        (tmp_path / f"{i}.pgm").write_bytes(b"P5 8 8 1000\n" + pixels)
    assert load(tmp_path) == ([128, 255], [])


def test_white_is_zero_where_a_tiff_says_so(tmp_path):
    for i, value in enumerate((256, 4095)):
        scan(tmp_path / f"{i}.tif", value, _262=0)
    assert load(tmp_path)[0] == [0, 255 - 256 // 16]


def test_what_is_transparent_in_a_scan_is_white(tmp_path):
    for i in range(2):
        scan(tmp_path / f"{i}.png", np.arange(64).reshape(8, 8) % 2 * 40000)
    with Image.open(tmp_path / "1.png") as image:
        image.save(tmp_path / "2.png", transparency=0)
    assert images.decode(tmp_path / "2.png", (8, 8, 1), resize=False).min() == 40000 >> 8


def save_whole_numbers(path, values):
    Image.fromarray(np.full((8, 8), values, np.int32)).save(path)


def test_whole_numbers_of_32_bits_are_read_up_to_16_and_others_are_named(tmp_path):
    for i, value in enumerate((0, 255, 4095, 65536, -1)):
        save_whole_numbers(tmp_path / f"{i}.tif", value)
    values, lines = load(tmp_path)
    assert values == [0, 15, 255]
    assert "3.tif (its pixels are from 65536 to 65536, and 0 to 65535 can be read)" in lines[1]
    assert "4.tif (its pixels are from -1 to -1, and 0 to 65535 can be read)" in lines[1]


def save_deep_colours(path, values):
    """A PNG of 16 bits a channel, which Pillow reads and does not write."""
    import struct
    import zlib

    def chunk(name, body):
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    rows = b"".join(b"\0" + np.full((8, 3), values, ">u2").tobytes() for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_colours_of_16_bits_keep_their_high_byte(tmp_path):
    for i, value in enumerate((0x1234, 0xFFFF)):
        save_deep_colours(tmp_path / f"{i}.png", (value, 0, 0x8000))
    values, lines = load(tmp_path)
    assert values == [0x12, 0xFF]
    assert lines == [
        "16-bit colours in 2 of 2 images, up to 65535: taken to be of 16 bits, white at 65535"
    ]


def test_colours_of_12_bits_in_16_are_named_instead_of_being_black(tmp_path):
    for i in range(2):
        save(tmp_path / f"usual{i}.png", 9)
        save_deep_colours(tmp_path / f"{i}.png", (4095, 0, 300))
    values, lines = load(tmp_path)
    assert values == [9, 9]
    assert lines[0].startswith("skipped 2 of 4 images: 0.png (colours of 12 bits in 16, of which")


def test_a_sixteen_bit_bmp_is_no_deep_image(tmp_path):
    """Its 16 bits are those of all three colours."""
    pixels = np.full((8, 8), 0b11111_000000_00000, "<u2").tobytes()
    header = b"BM" + np.array([70 + len(pixels), 0, 70], "<u4").tobytes()
    header += np.array([56, 8, 8], "<u4").tobytes() + np.array([1, 16], "<u2").tobytes()
    header += np.array([3, len(pixels), 0, 0, 0, 0], "<u4").tobytes()
    header += np.array([0xF800, 0x07E0, 0x001F, 0], "<u4").tobytes()
    for i in range(2):
        (tmp_path / f"{i}.bmp").write_bytes(header + pixels)
    assert load(tmp_path) == ([255, 255], [])


# What is read otherwise than it stands ---------------------------------------------------------


def test_each_kind_of_unusual_image_among_many_is_one_line(tmp_path):
    for i in range(300):
        save(tmp_path / f"{i:03}.png", 1)
    turned = Image.Exif()
    turned[0x0112] = 6
    upper = Image.fromarray(np.repeat(np.uint8([[[9] * 3]] * 8 + [[[90] * 3]] * 8), 16, axis=1))
    for i in range(12):
        Image.new("RGB", (8, 8), (2, 2, 255)).quantize().save(tmp_path / f"palette{i:02}.png")
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / f"clear{i:02}.png")
        Image.new("RGBA", (8, 8), (3, 0, 0, 255)).save(tmp_path / f"opaque{i:02}.png")
        upper.save(tmp_path / f"turned{i:02}.png", exif=turned)
    frames = [Image.new("RGB", (8, 8), (value, 0, 255)) for value in (5, 80)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    scan(tmp_path / "scan.png", 0xFFFF)
    (tmp_path / "cut.png").write_bytes((tmp_path / "000.png").read_bytes()[:-30])
    values, lines = load(tmp_path)
    counts = {value: values.count(value) for value in (1, 2, 3, 5, 90, 255)}
    assert counts == {1: 300, 2: 12, 3: 12, 5: 1, 90: 12, 255: 13}

    def first(name):
        return ", ".join(f"{name}{i:02}.png" for i in range(10)) + " and 2 more"

    assert lines == [
        "16-bit grey in 1 of 351 images, up to 65535: taken to be of 16 bits, white at 65535",
        "1 of 351 images have more frames, and only the first of each is read: moving.png",
        f"12 of 351 images have a palette, and are read in its colours: {first('palette')}",
        f"12 of 351 images are transparent in places, which become white: {first('clear')}",
        f"12 of 351 images are turned upright, as their EXIF data say: {first('turned')}",
        next(line for line in lines if line.startswith("skipped 1 of 351 images: cut.png (")),
    ]


def test_transparency_is_a_fourth_channel_if_asked_for(tmp_path):
    """And what nobody sees is white, whatever the file hides there."""
    hidden = np.zeros((8, 8, 4), np.uint8)
    hidden[:4] = 200, 100, 50, 255
    hidden[4:, :, 0] = 77
    Image.fromarray(hidden).save(tmp_path / "0.png")
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "1.png")
    scan(tmp_path / "2.png", np.arange(64).reshape(8, 8) % 2 * 0xFF00)
    with Image.open(tmp_path / "2.png") as image:
        image.save(tmp_path / "3.png", transparency=0)
    (tmp_path / "2.png").unlink()
    lines = []
    dataset = data.load(f"folder:{tmp_path}", image_size=8, channels=4, log=lines.append)
    pixels = {x[0, 0, 1]: x for x in np.concatenate([dataset.train, dataset.test])}
    assert (pixels[100][:4] == (200, 100, 50, 255)).all()
    assert (pixels[100][4:] == (255, 255, 255, 0)).all()
    assert (pixels[20] == (10, 20, 30, 255)).all()
    assert (pixels[255][:, ::2] == (255, 255, 255, 0)).all()
    assert (pixels[255][:, 1::2] == 255).all()
    assert (
        "2 of 3 images are transparent in places, which the fourth channel keeps: 0.png"
        in (lines[1])
    )


def test_channels_are_as_asked_for(tmp_path):
    for i in range(3):
        Image.new("L", (8, 8), 10 * i).save(tmp_path / f"{i}.png")
    for channels, shape in ((None, (8, 8, 1)), (1, (8, 8, 1)), (3, (8, 8, 3)), (4, (8, 8, 4))):
        dataset = data.load(f"folder:{tmp_path}", image_size=8, channels=channels, log=[].append)
        assert dataset.train.shape[1:] == shape
    with pytest.raises(ValueError, match="channels must be 1, 3 or 4, got 2"):
        data.load(f"folder:{tmp_path}", channels=2)


@pytest.mark.parametrize("size", ["8x16", (8, 16)])
def test_images_cover_a_height_and_width_and_keep_their_centre(tmp_path, size):
    pixels = np.zeros((24, 16, 3), np.uint8)
    pixels[8:16] = (200, 100, 50)
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    dataset = data.load(f"folder:{tmp_path}", image_size=size, log=[].append)
    assert dataset.train.shape == (1, 8, 16, 3)
    assert (dataset.train == np.uint8([200, 100, 50])).all()


@pytest.mark.parametrize(
    ("size", "sides"),
    [(None, None), (3, (3, 3)), ("3", (3, 3)), ("3x5", (3, 5)), ((3, 5), (3, 5))],
)
def test_a_size_is_a_side_or_height_and_width(size, sides):
    assert data.height_and_width(size) == sides


@pytest.mark.parametrize("size", ["3x", "x", "3x5x7", "a", (1, 2, 3), ("3", 5), 0, "0x3", -1, 2.5])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="image_size must be "):
        data.height_and_width(size)


# Labels ----------------------------------------------------------------------------------------


def make_classes(root, **counts):
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            save(root / name / f"{i}.png", 10 * number + i)


def load_labelled(root, num_classes):
    lines = []
    name = f"folder:{root}"
    return data.load(name, image_size=8, num_classes=num_classes, log=lines.append), lines


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path):
    make_classes(tmp_path, cats=5, dogs=7, newts=3)
    (tmp_path / "newts" / "deep").mkdir()
    save(tmp_path / "newts" / "deep" / "9.png", 29)
    dataset, lines = load_labelled(tmp_path, 3)
    pixels = np.concatenate([dataset.train, dataset.test])[:, 0, 0, 0]
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    np.testing.assert_array_equal(labels, pixels // 10)
    assert len(labels) == 16 and labels.dtype == np.int32
    assert lines[:-1] == [
        "labels are the sub-folders, 3 classes: "
        '0 = "cats" (5 images), 1 = "dogs" (7 images), 2 = "newts" (4 images)'
    ]
    assert dataset.class_names == ("cats", "dogs", "newts")
    plain = data.load(f"folder:{tmp_path}", image_size=8, log=[].append)
    np.testing.assert_array_equal(plain.train, dataset.train)
    assert plain.train_labels is None and plain.class_names is None


def test_images_that_are_scaled_up_are_said_to_be(tmp_path):
    def lines_of(image_size):
        lines = []
        data.load(f"folder:{tmp_path}", image_size=image_size, log=lines.append)
        return [line for line in lines if "scaled up to" in line]

    for i in range(3):
        Image.new("L", (8, 6), i).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_text("no image")
    words = "the images are 6x8 and are scaled up to {}: image_size=6x8 keeps them"
    assert lines_of(None) == [words.format("32x32")]
    assert lines_of("7x9") == [words.format("7x9")]
    assert lines_of("6x8") == lines_of("5x9") == []
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    assert lines_of(None) == []


def test_the_labels_stay_with_their_images_where_some_cannot_be_decoded(tmp_path):
    make_classes(tmp_path, cats=4, dogs=4)
    (tmp_path / "cats" / "0.png").write_text("no image")
    dataset, lines = load_labelled(tmp_path, 2)
    pixels = np.concatenate([dataset.train, dataset.test])[:, 0, 0, 0]
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    np.testing.assert_array_equal(labels, pixels // 10)
    each = '0 = "cats" (3 images), 1 = "dogs" (4 images)'
    assert f"labels are the sub-folders, 2 classes: {each}" in lines


def test_the_one_image_of_a_class_is_trained_on(tmp_path):
    """Also where it is among the random tenth to hold out, as one of these is."""
    make_classes(tmp_path, **{f"c{i:02}": 1 for i in range(20)}, many=9)
    dataset, lines = load_labelled(tmp_path, 21)
    assert set(dataset.train_labels) == set(range(21))
    assert set(dataset.test_labels) <= {20}
    assert len(dataset.train) + len(dataset.test) == 29
    assert lines[1].startswith("classes with one image, which is trained on and never held out: 20")


@pytest.mark.parametrize("single", range(4))
def test_an_image_is_held_out_whichever_class_has_one(tmp_path, single):
    """Of few images one is held out, and where it is a class's only one another takes its place."""
    make_classes(tmp_path, **{f"c{i}": 1 if i in (single, 3) else 2 for i in range(4)})
    dataset, _ = load_labelled(tmp_path, 4)
    assert set(dataset.train_labels) == set(range(4))
    assert len(dataset.test) == len(dataset.test_labels) == 1
    pixels = np.concatenate([dataset.train, dataset.test])[:, 0, 0, 0]
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    np.testing.assert_array_equal(labels, pixels // 10)
    assert len(set(pixels.tolist())) == (7 if single == 3 else 6)


def test_what_is_held_out_instead_is_of_the_class_of_most_examples():
    train, test = labels.keep_each_class(np.array([0, 1, 1, 2]), np.array([1, 2, 3]), np.array([0]))
    assert (train.tolist(), test.tolist()) == ([0, 1, 3], [2])


def test_classes_of_one_image_each_are_refused(tmp_path):
    make_classes(tmp_path, a=1, b=1, c=1)
    with pytest.raises(ValueError, match="each class has one image, and so none can be held out"):
        load_labelled(tmp_path, 3)


def test_labels_that_do_not_fit_are_refused_in_a_line_before_anything_is_decoded(tmp_path):
    def refused(num_classes, words):
        with pytest.raises(ValueError, match=words) as error:
            load_labelled(tmp_path, num_classes)
        assert "\n" not in str(error.value)

    for i in range(2):
        save(tmp_path / f"{i}.png", i)
    refused(2, "num_classes=2 does not fit folder:.*, which has no sub-folders of images: put the")
    make_classes(tmp_path, cats=2)
    refused(2, r"2 of the 4 images of folder:.* lie beside its sub-folders .*: 0.png, 1.png. Move")
    for i in range(2):
        (tmp_path / f"{i}.png").unlink()
    refused(2, f"has 1 sub-folder of images, each a class: cats. Or give folder:{tmp_path}/cats")
    make_classes(tmp_path, dogs=2)
    refused(5, "num_classes=5 does not fit folder:.* has 2 sub-folders .*each a class: cats, dogs")
    for i in range(2):
        (tmp_path / "dogs" / f"{i}.png").write_text("no image")
    refused(2, "no image in the sub-folder dogs of .* can be decoded, and so class 1 would have")


def test_a_labelled_set_of_tfds_names_its_classes_where_they_are_asked_for(tmp_path):
    lines = []
    data.load("digits", tmp_path, log=[].append)
    for name in ("digits", "digits:1.0.0"):
        data.load(name, tmp_path, log=lines.append)
        data.load(name, tmp_path, num_classes=10, log=lines.append)
    classes = "10 classes, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert lines == [f"labels of digits: {classes}", f"labels of digits:1.0.0: {classes}"]
