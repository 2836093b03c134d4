"""Where data lie, and the files of the user's own that an experiment names."""

import numpy as np
import pytest
from job_commands import jobs, runtime, wildcards
from safetensors.numpy import save_file
from snakemake_interface_common.exceptions import WorkflowError


def test_the_data_may_lie_anywhere(pipeline_of):
    here, there = (
        pipeline_of(experiment="mnist_small", overrides=f"dataset.root={root}")
        for root in ("a", "b/c")
    )
    assert list(here._files) == list(there._files)
    for pipeline, root in ((here, "a"), (there, "b/c")):
        splits = jobs(pipeline, "prepare-data")
        assert [runtime(pipeline, file) for file in splits] == [[f"--root={root}"]] * 2
    assert runtime(pipeline_of(), jobs(pipeline_of(), "prepare-data")[0]) == []


@pytest.fixture
def images(tmp_path, make):
    """Return the paths of the splits of a folder of images, and that folder."""

    def splits(folder):
        pipeline = make(
            dataset="image_folder",
            attacks=["fgm"],
            features=["max_probability"],
            overrides=[f"dataset.root='{folder}'"],
        )
        return [file.job for file in jobs(pipeline, "prepare-data") if pipeline.published]

    write_photos(tmp_path / "my images")
    return splits, tmp_path / "my images" / "train" / "cat"


def write_photos(root, classes=("cat", "dog"), parts=("train", "test")):
    """Write files that are images by their names, two of each class in each split."""
    for folder in (root / part / name for part in parts for name in classes):
        folder.mkdir(parents=True)
        for number in (0, 1):
            (folder / f"{number}.png").write_bytes(b"1")


def test_images_of_a_tracked_folder_count(images):
    splits, folder = images

    def now():
        return splits("my images")

    before = now()
    assert now() == before
    added = folder / "2.png"
    added.write_bytes(b"2")
    assert now() != before
    added.rename(folder / "3.png")
    with_another_name = now()
    added.with_name("3.png").write_bytes(b"33")
    assert now() != with_another_name
    added.with_name("3.png").unlink()
    assert now() == before


def test_two_folders_of_images_are_two_data_sets(make, tmp_path):
    for name in ("cats", "dogs"):
        write_photos(tmp_path / name, classes=("large", name))
    runs = [
        {"name": name, "dataset": "image_folder", "overrides": [f"dataset.root={name}"]}
        for name in ("cats", "dogs")
    ]
    pipeline = make(attacks=["fgm"], features=["max_probability"], runs=runs)
    _ = pipeline.published
    words = [runtime(pipeline, file) for file in jobs(pipeline, "prepare-data")]
    several = ["--threads", "3"]  # files are decoded side by side
    assert sorted(words) == [["--root=cats", *several]] * 2 + [["--root=dogs", *several]] * 2


PHOTOS = {"dataset": "image_folder", "attacks": ["fgm"], "features": ["max_probability"]}
MODEL = "model.weights=mine.safetensors model.arguments.mean=[0,0,0] model.arguments.std=[1,1,1]"
ROOT = f"dataset.root=photos {MODEL}"


@pytest.fixture
def photos(tmp_path):
    """A folder of test images alone, and a file of weights."""
    write_photos(tmp_path / "photos", parts=["val"])
    save_file({"weight": np.zeros(1)}, tmp_path / "mine.safetensors")
    return tmp_path / "photos"


def test_the_lists_in_a_tracked_folder_count_by_their_content(make, photos):
    def now():
        overrides = f"{ROOT} dataset.class_file=classes.txt"
        pipeline = make(**PHOTOS, overrides=overrides)
        assert pipeline.experiment.runs[0].images.classes == 3
        return [file.job for file in jobs(pipeline, "prepare-data") if pipeline.published]

    (photos / "classes.txt").write_text("cat\ndog\nfox\n")
    before = now()
    (photos / "classes.txt").write_text("fox\ndog\ncat\n")
    assert now() != before


def test_photos_alone_are_enough_for_a_model_with_weights(make, photos):
    pipeline = make(**PHOTOS, overrides=ROOT)
    images = pipeline.experiment.runs[0].images
    assert (images.train, images.test, images.classes) == (0, 4, 2)
    assert pipeline.published
    splits = jobs(pipeline, "prepare-data")
    assert [file.option("--split") for file in splits] == ["train", "test"]


def test_a_missing_folder_of_images_is_refused(make):
    with pytest.raises(WorkflowError, match=r"^dataset\.root: the folder nowhere does not exist"):
        _ = make(dataset="image_folder", overrides="dataset.root=nowhere").published


def test_own_weights_count_by_their_content(make, tmp_path, names, pipeline_of):
    config = {"attacks": ["fgsm"], "features": ["kd"]}

    def model(path, number):
        save_file({"weight": np.array([number])}, tmp_path / path)
        pipeline = make(overrides=f"model.weights={path}", **config)
        assert "training" not in names.rules(pipeline, "figure")
        (file,) = {
            file.job: file for file in jobs(pipeline, "train") if file.names["seed"]
        }.values()
        assert pipeline.inputs(wildcards(file))["weights"] == [path]
        return file.job

    first = model("mine.safetensors", 1)
    assert model("moved.safetensors", 1) == first
    assert model("mine.safetensors", 2) != first
    assert "training" in names.rules(pipeline_of(), "figure")


def test_own_weights_must_be_there_and_whole(make, tmp_path):
    with pytest.raises(WorkflowError, match=r"^model\.weights: the file mine\.pt does not exist"):
        make(overrides="model.weights=mine.pt")
    (tmp_path / "mine.pt").write_bytes(b"no weights at all")
    with pytest.raises(WorkflowError, match=r"^model\.weights: the file mine\.pt holds no weights"):
        make(overrides="model.weights=mine.pt")


def test_images_of_another_tool_count_by_their_content(make, own_yaml, tmp_path):
    own_yaml("attack/mine", "_file_: mine.npz\n")
    config = {"attacks": ["mine"], "features": ["kd"], "seeds": [0]}
    with pytest.raises(WorkflowError, match=r"^attack\.mine\._file_: the file mine\.npz does not"):
        make(**config)

    def transferred(content):
        (tmp_path / "mine.npz").write_bytes(content)
        pipeline = make(**config)
        _ = pipeline.published
        (file,) = jobs(pipeline, "transfer")
        assert pipeline.inputs(wildcards(file))["crafted"] == ["mine.npz"]
        return file.job

    assert transferred(b"1") == transferred(b"1") != transferred(b"2")
