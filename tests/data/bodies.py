"""Made-up people in the official formats of MPII and COCO: a bright dot for each joint on a black image."""

import json

import numpy as np
from PIL import Image
from scipy import io as scipy_io

SIZE = (360, 300)  # of an image, height and width
SIGMA = 5.0  # of a dot, pixels


def place_joints(rng, count):
    """Joints `[count, 2]`, 0-based, at sub-pixel places at least 47 pixels apart."""
    cells = np.stack(np.meshgrid(np.arange(4), np.arange(5)), axis=-1).reshape(-1, 2)
    return (50, 60) + 55.0 * cells[rng.permutation(20)[:count]] + rng.uniform(-4, 4, (count, 2))


def draw(joints, path):
    """Writes an image with a dot for each joint, or an empty file for None."""
    if joints is None:
        path.touch()
        return
    rows, columns = (
        np.exp(-((np.arange(size) - joints[:, axis, None]) ** 2) / (2 * SIGMA**2)) for size, axis in zip(SIZE, (1, 0))
    )
    spots = sum(255 * np.outer(row, column) for row, column in zip(rows, columns))
    pixels = np.repeat(spots.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    Image.fromarray(pixels).save(path, quality=98)


def centroids(image, places, sigma):
    """Centres of intensity `[n, 2]` of the dots of an image around `places`; NaN for those not wholly within it."""
    reach = int(np.ceil(4 * sigma))
    grey = np.asarray(image, np.float64).sum(axis=-1)
    result = np.full(np.shape(places), np.nan)
    for i, place in enumerate(places):
        if np.isnan(place).any():
            continue
        x, y = np.round(place).astype(int)
        if min(x, y) >= reach and x + reach < grey.shape[1] and y + reach < grey.shape[0]:
            window = grey[y - reach : y + reach + 1, x - reach : x + reach + 1]
            rows, columns = np.mgrid[y - reach : y + reach + 1, x - reach : x + reach + 1]
            result[i] = np.array([(window * columns).sum(), (window * rows).sum()]) / window.sum()
    return result


class MpiiFolder:
    """An MPII folder: `people` persons in each split, their images empty files unless `images`.

    joints: split -> `[people, 16, 2]`, 0-based; visible: split -> `[people, 16]`; entries: split -> the JSON's content.
    """

    def __init__(self, folder, people=3, images=False):
        rng = np.random.default_rng(0)
        self.folder, self.joints, self.visible, self.entries = folder, {}, {}, {}
        (folder / "annot").mkdir(parents=True)
        (folder / "images").mkdir()
        for split in ("train", "valid"):
            joints, visible, entries = [], [], []
            for i in range(people):
                places, seen = place_joints(rng, 16), np.ones(16)
                seen[rng.permutation(16)[:i]] = 0
                draw(places if images else None, folder / "images" / f"{split}{i}.png")
                entries.append(
                    {
                        "image": f"{split}{i}.png",
                        "center": [150.0 + i, 150.0 - i],
                        "scale": 1.5 + 0.1 * i,
                        "joints": np.where(seen[:, None] > 0, places + 1, -1).tolist(),
                        "joints_vis": seen.astype(int).tolist(),
                    }
                )
                joints.append(places)
                visible.append(seen)
            self.joints[split], self.visible[split], self.entries[split] = np.array(joints), np.array(visible), entries
        self.head = np.array([[[10.0, 20.0], [40.0 + i, 60.0]] for i in range(people)])  # two corners
        self.truth = {
            "pos_gt_src": np.moveaxis(self.joints["valid"] + 1, 0, -1),
            "jnt_missing": 1 - self.visible["valid"].T,
            "headboxes_src": np.moveaxis(self.head, 0, -1),
        }
        self.write()

    def write(self):
        for split, entries in self.entries.items():
            (self.folder / "annot" / f"{split}.json").write_text(json.dumps(entries))
        scipy_io.savemat(self.folder / "annot" / "gt_valid.mat", self.truth)


class CocoFolder:
    """A COCO folder with two images in each split, empty files unless `images`, and detections of `val`.

    In each image: one or two labelled people (the dots of the image, halved between them), a crowd, and somebody
    without a joint. contents: split -> the JSON's content; detections: likewise; joints: image id -> `[17, 2]`.
    """

    def __init__(self, folder, images=False):
        rng = np.random.default_rng(0)
        self.folder, self.contents, self.detections, self.joints = folder, {}, [], {}
        for part in ("annotations", "train2017", "val2017", "person_detection_results"):
            (folder / part).mkdir(parents=True)
        for split, first in (("train", 1), ("val", 501)):
            entries, annotations = [], []
            for number in (first, first + 1):
                joints = self.joints[number] = place_joints(rng, 17)
                name = f"{number:012d}.jpg"
                draw(joints if images else None, folder / f"{split}2017" / name)
                entries.append({"id": number, "file_name": name, "width": SIZE[1], "height": SIZE[0]})
                halves = [np.arange(17)] if number == first else [np.arange(9), np.arange(9, 17)]
                people = [
                    self._person(joints, np.isin(np.arange(17), half), [30.5, 40.5, 240.0, 300.0]) for half in halves
                ]
                people.append({**self._person(joints, np.ones(17), [0.0, 0.0, 300.0, 360.0]), "iscrowd": 1})
                people.append(self._person(joints, np.zeros(17), [5.0, 5.0, 50.0, 90.0]))
                annotations += [
                    {**person, "image_id": number, "id": 10 * number + i} for i, person in enumerate(people)
                ]
                if split == "val":
                    box = {"image_id": number, "bbox": [20.25, 30.5, 250.0, 320.0]}
                    self.detections += [
                        {**box, "category_id": 1, "score": 0.9},
                        {**box, "category_id": 3, "score": 0.8},
                        {**box, "category_id": 1, "score": 0.25},
                    ]
            self.contents[split] = {
                "images": entries,
                "annotations": annotations,
                "categories": [{"id": 1, "name": "person"}],
            }
        self.write()

    @staticmethod
    def _person(joints, labelled, box):
        """An annotation whose labelled joints are hidden (1) and visible (2) in turn."""
        visible = labelled * (1 + np.arange(17) % 2)
        keypoints = np.column_stack([np.where(visible[:, None] > 0, joints, 0), visible])
        return {
            "category_id": 1,
            "iscrowd": 0,
            "bbox": box,
            "area": 0.25 * box[2] * box[3],
            "num_keypoints": int((visible > 0).sum()),
            "keypoints": keypoints.ravel().tolist(),
        }

    def path(self, split):
        return self.folder / "annotations" / f"person_keypoints_{split}2017.json"

    def write(self):
        for split, content in self.contents.items():
            self.path(split).write_text(json.dumps(content))
        path = self.folder / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json"
        path.write_text(json.dumps(self.detections))
