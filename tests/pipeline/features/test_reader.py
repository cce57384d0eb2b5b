"""One clip is read without its neighbours, by any process; damage is found and told."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.core.errors import WorkspaceError
from pipeline.features.reader import FeatureStore, ShardReader, tensors
from pipeline.features.shards import ShardWriter
from pipeline.files.checksums import write_parquet
from pipeline.modalities.registry import extracted_names
from tests.pipeline.features.test_shards import assert_equal
from tests.support.feature_rows import WIDTH, appearance_rows, face_rows, pose_rows, rows_of, scene_rows
from tests.support.feature_shards import write


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Clips c0..c5 in two shards a modality; c5 failed."""
    paths = {}
    for modality in extracted_names():
        paths[modality] = [str(tmp_path / f"{modality}-{number}.parquet") for number in (0, 1)]
        for number, path in enumerate(paths[modality]):
            clips = [f"c{3 * number + at}" for at in range(3)]
            with ShardWriter(path, modality, clips, {}) as writer:
                for clip in clips:
                    if clip == "c5":
                        writer.skip(clip, "corrupt")
                    else:
                        writer.add(rows_of(modality, clip, seed=int(clip[1])))
    return FeatureStore(paths)


def bytes_read_by(work: Callable[[], object]) -> int:
    """Of files, by this process, as the kernel counts them."""

    def count() -> int:
        with open("/proc/self/io") as file:
            return int(file.readline().split()[1])

    before = count()
    work()
    return count() - before


def test_one_clip_is_read_without_its_neighbours(tmp_path: Path) -> None:
    rows = [appearance_rows(f"c{number}", 32, 2048, seed=number) for number in range(32)]
    path = write(tmp_path / "x.parquet", rows)
    size = os.path.getsize(path)
    reader = ShardReader(path)
    assert bytes_read_by(lambda: reader.clip_ids) < size / 20
    assert bytes_read_by(lambda: reader.read("c7")) < size / 20
    assert_equal(reader.read("c7"), rows[7])


def test_crops_stay_on_the_disk_when_they_are_not_wanted(tmp_path: Path) -> None:
    rows = face_rows("a", frames=6, faces=6)
    reader = ShardReader(write(tmp_path / "face.parquet", [rows]))
    assert_equal(reader.read("a", crops=False), replace(rows, crop=()))
    assert bytes_read_by(lambda: reader.read("a", crops=False)) < bytes_read_by(lambda: reader.read("a"))


def test_all_clips_come_in_the_shards_order(tmp_path: Path) -> None:
    rows = [pose_rows("b"), pose_rows("nobody", persons=0), pose_rows("a")]
    reader = ShardReader(write(tmp_path / "pose.parquet", rows))
    for read, written in zip(reader, rows, strict=True):
        assert_equal(read, written)


def test_clips_without_rows_are_told_apart(store: FeatureStore) -> None:
    reader = ShardReader(store._paths["scene"][1])
    with pytest.raises(KeyError, match=r"c5: it was skipped \(corrupt\)"):
        reader.read("c5")
    with pytest.raises(KeyError, match="c0: it is not of this shard"):
        reader.read("c0")


def test_a_reader_may_be_closed_and_asked_again(store: FeatureStore) -> None:
    reader = ShardReader(store._paths["pose"][0])
    before = reader.read("c1")
    reader.close()
    assert_equal(reader.read("c1"), before)


def test_a_store_finds_every_clip_in_every_modality(store: FeatureStore) -> None:
    for modality in extracted_names():
        assert store.clip_ids(modality) == ("c0", "c1", "c2", "c3", "c4")
        assert store.skipped(modality) == {"c5": "corrupt"}
        assert store.has(modality, "c4")
        assert not store.has(modality, "c5")
        assert_equal(store.read(modality, "c4"), rows_of(modality, "c4", seed=4))
    with pytest.raises(KeyError, match=r"c5 has no pose rows: it was skipped \(corrupt\)"):
        store.read("pose", "c5")
    with pytest.raises(KeyError, match="c9 has no pose rows: it is in no shard"):
        store.read("pose", "c9")
    with pytest.raises(KeyError, match="no smell, only pose"):
        store.clip_ids("smell")


def test_a_store_keeps_few_files_open(store: FeatureStore) -> None:
    few = FeatureStore(store._paths, max_open=2)
    few.clip_ids("pose"), few.clip_ids("scene")
    before = len(os.listdir("/proc/self/fd"))
    for clip in ("c0", "c3", "c1", "c4"):
        for modality in ("pose", "scene"):
            few.read(modality, clip)
    assert len(os.listdir("/proc/self/fd")) - before == 2
    few.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_clip_in_two_shards_is_refused(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.parquet", [pose_rows("a")]) for name in ("one", "two")]
    with pytest.raises(WorkspaceError, match=r"clip a is in two shards: .*one.* and .*two"):
        FeatureStore({"pose": paths}).clip_ids("pose")


def test_a_shard_of_another_modality_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.parquet", [rows_of("scene")])
    with pytest.raises(WorkspaceError, match="holds scene, where pose is looked for"):
        FeatureStore({"pose": [path]}).clip_ids("pose")


class Clips(Dataset):
    def __init__(self, store: FeatureStore):
        self.store = store

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> torch.Tensor:
        pose = tensors(self.store.read("pose", f"c{number}"))
        return pose.keypoints.sum() + tensors(self.store.read("scene", f"c{number}")).feature.sum()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_store_works_in_the_workers_of_a_loader(store: FeatureStore, context: str) -> None:
    dataset = Clips(store)
    here = torch.stack([dataset[number] for number in range(5)])  # opens files that the workers then inherit
    loader = DataLoader(dataset, batch_size=1, num_workers=2, multiprocessing_context=context)
    assert torch.equal(torch.cat(list(loader)), here)


def test_a_fork_opens_its_own_file(store: FeatureStore) -> None:
    reader = ShardReader(store._paths["pose"][0])
    reader.read("c0")
    mine = reader._state

    def child(queue: Any) -> None:
        reader.read("c0")
        assert reader._state is not None
        queue.put(reader._state.process)

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get(timeout=30) == process.pid
    process.join()
    assert reader._state is mine


def test_a_pickled_store_takes_its_index_along(store: FeatureStore) -> None:
    store.read("pose", "c0")
    for path in store._paths["pose"][1:]:
        os.remove(path)
    again = pickle.loads(pickle.dumps(store))
    assert_equal(again.read("pose", "c1"), rows_of("pose", "c1", seed=1))


# Damage


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "gone.parquet")
    with pytest.raises(WorkspaceError, match=rf"{path} is missing; BuildVDV makes it again"):
        ShardReader(path).clip_ids  # noqa: B018
    with pytest.raises(WorkspaceError, match=r"gone\.parquet is missing"):
        ShardReader("memory://nowhere/gone.parquet").clip_ids  # noqa: B018


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_a_shard_cut_off_anywhere_is_found_damaged(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "x.parquet"
    write(path, [rows_of("scene")])
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(WorkspaceError, match=r"x\.parquet is damaged .*; delete it and run the command that made"):
        ShardReader(str(path)).clip_ids  # noqa: B018


@pytest.mark.parametrize("modality", extracted_names())
def test_a_flipped_bit_in_the_data_is_found(tmp_path: Path, modality: str) -> None:
    path = tmp_path / "x.parquet"
    write(path, [rows_of(modality, "a"), rows_of(modality, "b", seed=1)])
    whole = path.read_bytes()
    refusals = []
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in np.linspace(4, footer - 1, 30, dtype=int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            read = list(ShardReader(str(path)))
        except WorkspaceError as error:
            refusals.append(str(error))
        else:  # a byte that no reader looks at, in a page's header
            assert_equal(read[0], rows_of(modality, "a"))
            assert_equal(read[1], rows_of(modality, "b", seed=1))
    assert len(refusals) > 20
    assert all("is damaged" in refusal for refusal in refusals)


def without_checksums(metadata: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in metadata.items() if not key.endswith(b"checksum")}


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [rows_of("scene")], metadata={"code_version": "9.8.7"})
    table = pq.read_table(path)
    metadata = pq.read_metadata(path).metadata
    metadata = {key: value for key, value in metadata.items() if key != b"ARROW:schema"} | {b"schema_version": b"99"}
    pq.write_table(table.replace_schema_metadata(without_checksums(metadata)), path)
    with pytest.raises(WorkspaceError, match=r"schema version 99, this version of vdv reads 2; .*9\.8\.7"):
        ShardReader(path).clip_ids  # noqa: B018


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    pq.write_table(pa.table({"clip_id": ["a"]}), path)
    with pytest.raises(WorkspaceError, match="none that this pipeline wrote"):
        ShardReader(path).clip_ids  # noqa: B018


def test_row_groups_that_are_not_the_clips_listed_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [rows_of("scene", "a"), rows_of("scene", "b", seed=1)])
    table = pq.read_table(path)
    metadata = {key: value for key, value in pq.read_metadata(path).metadata.items() if key != b"ARROW:schema"}
    plain = {key.decode(): value.decode() for key, value in without_checksums(metadata).items()}
    write_parquet(path, table.replace_schema_metadata(None), plain)  # both clips in one row group
    with pytest.raises(WorkspaceError, match="row groups are not of the clips that it lists"):
        ShardReader(path).read("a")


# Tensors


def test_pose_tensors_have_masks_and_the_lead() -> None:
    rows = pose_rows(frames=6, persons=3)
    result = tensors(rows)
    assert result.keypoints.shape == (3, 6, 17, 3)
    assert result.keypoints.dtype == torch.float32
    assert result.valid.dtype == torch.bool
    assert result.lead == 2
    np.testing.assert_array_equal(result.keypoints[1].numpy(), rows.tracks[1].keypoints)
    np.testing.assert_array_equal(result.valid[1].numpy(), rows.tracks[1].valid)
    np.testing.assert_array_equal(result.boxes[1].numpy(), rows.tracks[1].box)
    np.testing.assert_array_equal(result.scores[1].numpy(), rows.tracks[1].score)
    np.testing.assert_array_equal(result.timestamp.numpy(), rows.grid.timestamp)
    np.testing.assert_array_equal(result.frame_index.numpy(), rows.grid.frame_index)


def test_pose_tensors_of_nobody_are_empty_and_of_the_right_shape() -> None:
    result = tensors(pose_rows(frames=6, persons=0))
    assert result.keypoints.shape == (0, 6, 17, 3)
    assert result.boxes.shape == (0, 6, 4)
    assert result.valid.shape == result.scores.shape == (0, 6)
    assert result.valid.dtype == torch.bool
    assert result.lead is None


def test_face_tensors_say_which_frames_show_a_face() -> None:
    rows = replace(face_rows(frames=5, faces=3), frame=np.array([1, 1, 4], np.int32))
    result = tensors(rows)
    assert result.valid.tolist() == [False, True, False, False, True]
    assert result.frame.tolist() == [1, 1, 4]
    np.testing.assert_array_equal(result.embedding.numpy(), rows.embedding.astype(np.float32))
    np.testing.assert_array_equal(result.landmarks.numpy(), rows.landmarks)
    assert tensors(face_rows(faces=0)).embedding.shape == (0, 512)


def test_features_that_overflowed_are_masked_and_zero(tmp_path: Path) -> None:
    rows = scene_rows(frames=3)
    rows.feature[1, 5] = np.inf
    path = write(tmp_path / "x.parquet", [rows])
    result = tensors(ShardReader(path).read("clip"))
    assert result.valid.tolist() == [True, False, True]
    assert pq.read_table(path)["valid"].to_pylist() == [[True, False, True]]
    assert result.feature.shape == (3, WIDTH)
    assert not result.feature[1].any()
    np.testing.assert_array_equal(result.feature[2].numpy(), rows.feature[2].astype(np.float32))


def test_tensors_own_their_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [appearance_rows()])
    reader = ShardReader(path)
    result = tensors(reader.read("clip"))
    result.feature.zero_()
    assert_equal(reader.read("clip"), appearance_rows())


def test_only_tensors_needs_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [rows_of("scene")])
    program = f"import sys; from pipeline.features.reader import ShardReader; ShardReader({path!r}).read('clip')"
    program += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert json.loads(ShardReader(path).metadata["clips"]) == ["clip"]
