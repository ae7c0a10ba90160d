"""Schemes of the human body; sides as the person has them."""

from h3r_jax.landmarks.scheme import OBJECT_SIZE, LandmarkScheme, line, swap, turned

MPII16 = LandmarkScheme(
    name="mpii16",
    num_landmarks=16,
    mirror=swap(16, *turned(0, 5), *turned(10, 15)),
    normalizers=(("head_size", OBJECT_SIZE),),  # 0.6 of the diagonal of the head's box
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
        "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
        "left_wrist",
    ),
    connections=(
        *line(0, 2), *line(3, 5), (2, 6), (6, 3), *line(6, 9), *line(10, 12), *line(13, 15), (12, 7), (7, 13),
    ),
    upper_body=tuple(range(7, 16)),
)  # fmt: skip

COCO17 = LandmarkScheme(
    name="coco17",
    num_landmarks=17,
    mirror=swap(17, *((i, i + 1) for i in range(1, 17, 2))),
    normalizers=(("segment", OBJECT_SIZE),),  # the square root of the segment's area
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    connections=(
        (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
        (13, 15), (12, 14), (14, 16),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
        0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
    upper_body=tuple(range(11)),
)  # fmt: skip
