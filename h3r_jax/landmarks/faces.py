"""Schemes of faces. The image's left is the person's right; mirror orders are those of H3R, HRNet and mmpose."""

from h3r_jax.landmarks.scheme import BOX, DELIVERED_DIAGONAL, OBJECT_SIZE, LandmarkScheme, line, named, swap, turned

_CONTOUR_AND_BROWS = [*turned(0, 32), *zip(range(33, 42), (46, 45, 44, 43, 42, 50, 49, 48, 47))]
_CONTOUR_AND_BROW_LINES = (*line(0, 32), *line(33, 41, True), *line(42, 50, True), *line(51, 54))
_CONTOUR_AND_BROW_NAMES = (("contour", 33), ("right_brow", 9), ("left_brow", 9), ("nose_bridge", 4))

# Contour 0-32, brows 33-50, nose 51-59, eyes 60-75 from the outer and the inner corner on, lips 76-95, pupils 96-97.
WFLW98 = LandmarkScheme(
    name="wflw98",
    num_landmarks=98,
    mirror=swap(
        98,
        *_CONTOUR_AND_BROWS,
        *turned(55, 59),
        *zip(range(60, 68), (72, 71, 70, 69, 68, 75, 74, 73)),
        *turned(76, 82), *turned(83, 87), *turned(88, 92), *turned(93, 95),
        (96, 97),
    ),
    normalizers=(("inter_ocular", (60, 72)), ("inter_pupil", (96, 97)), ("box", BOX)),
    names=named(
        *_CONTOUR_AND_BROW_NAMES, ("nose_base", 5), ("right_eye", 8), ("left_eye", 8), ("outer_lip", 12),
        ("inner_lip", 8), ("right_pupil", 1), ("left_pupil", 1),
    ),
    connections=(
        *_CONTOUR_AND_BROW_LINES, *line(55, 59), *line(60, 67, True), *line(68, 75, True), *line(76, 87, True),
        *line(88, 95, True),
    ),
)  # fmt: skip

# iBUG, 300W, 300W-LP, AFLW2000-3D: contour 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lip 48-59, inner lip 60-67.
IBUG68 = LandmarkScheme(
    name="ibug68",
    num_landmarks=68,
    mirror=swap(
        68,
        *turned(0, 16), *turned(17, 26), *turned(31, 35),
        *zip(range(36, 42), (45, 44, 43, 42, 47, 46)),
        *turned(48, 54), *turned(55, 59), *turned(60, 64), (65, 67),
    ),
    normalizers=(("inter_ocular", (36, 45)), ("inter_pupil", ((*range(36, 42),), (*range(42, 48),))), ("box", BOX)),
    names=named(
        ("contour", 17), ("right_brow", 5), ("left_brow", 5), ("nose_bridge", 4), ("nose_base", 5), ("right_eye", 6),
        ("left_eye", 6), ("outer_lip", 12), ("inner_lip", 8),
    ),
    connections=(
        *line(0, 16), *line(17, 21), *line(22, 26), *line(27, 30), *line(31, 35),
        *line(36, 41, True), *line(42, 47, True), *line(48, 59, True), *line(60, 67, True),
    ),
)  # fmt: skip

# Sides interleave.
COFW29 = LandmarkScheme(
    name="cofw29",
    num_landmarks=29,
    mirror=swap(29, (0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)),
    normalizers=(("inter_ocular", (8, 9)), ("inter_pupil", (16, 17))),
    names=(
        "right_brow_outer", "left_brow_outer", "right_brow_inner", "left_brow_inner",
        "right_brow_top", "right_brow_bottom", "left_brow_top", "left_brow_bottom",
        "right_eye_outer", "left_eye_outer", "right_eye_inner", "left_eye_inner",
        "right_eye_top", "right_eye_bottom", "left_eye_top", "left_eye_bottom", "right_pupil", "left_pupil",
        "nose_right", "nose_left", "nose_tip", "nose_bottom", "mouth_right", "mouth_left",
        "upper_lip_top", "upper_lip_bottom", "lower_lip_top", "lower_lip_bottom", "chin",
    ),
    connections=(
        (0, 4), (4, 2), (2, 5), (5, 0), (1, 6), (6, 3), (3, 7), (7, 1),
        (8, 12), (12, 10), (10, 13), (13, 8), (9, 14), (14, 11), (11, 15), (15, 9), (18, 21), (21, 19), (20, 21),
        (22, 24), (24, 23), (23, 27), (27, 22), (22, 25), (25, 23), (22, 26), (26, 23),
    ),
)  # fmt: skip

AFLW19 = LandmarkScheme(
    name="aflw19",
    num_landmarks=19,
    mirror=swap(19, *turned(0, 5), *turned(6, 11), (12, 14), (15, 17)),
    normalizers=(("box_side", OBJECT_SIZE), ("box_diagonal", DELIVERED_DIAGONAL)),
    names=(
        "right_brow_outer", "right_brow_center", "right_brow_inner",
        "left_brow_inner", "left_brow_center", "left_brow_outer",
        "right_eye_outer", "right_eye_center", "right_eye_inner", "left_eye_inner", "left_eye_center", "left_eye_outer",
        "nose_right", "nose_tip", "nose_left", "mouth_right", "mouth_center", "mouth_left", "chin",
    ),
    connections=(*line(0, 2), *line(3, 5), *line(6, 8), *line(9, 11), *line(12, 14), *line(15, 17)),
)  # fmt: skip

# Contour and brows as in WFLW; nose 51-65, eyes 66-83 with their centres 74 and 83, lips 84-103, pupils 104-105.
LAPA106 = LandmarkScheme(
    name="lapa106",
    num_landmarks=106,
    mirror=swap(
        106,
        *_CONTOUR_AND_BROWS,
        *turned(55, 65),
        *zip(range(66, 75), (79, 78, 77, 76, 75, 82, 81, 80, 83)),
        *turned(84, 90), *turned(91, 95), *turned(96, 100), *turned(101, 103),
        (104, 105),
    ),
    normalizers=(("inter_ocular", (66, 79)), ("inter_pupil", (104, 105)), ("box", BOX)),
    names=named(
        *_CONTOUR_AND_BROW_NAMES, ("nose_side", 11), ("right_eye", 8), ("right_eye_center", 1), ("left_eye", 8),
        ("left_eye_center", 1), ("outer_lip", 12), ("inner_lip", 8), ("right_pupil", 1), ("left_pupil", 1),
    ),
    connections=(
        *_CONTOUR_AND_BROW_LINES, *line(55, 65), *line(66, 73, True), *line(75, 82, True), *line(84, 95, True),
        *line(96, 103, True),
    ),
)  # fmt: skip

# data.phantom.figure draws these points, by their names.
PHANTOM23 = LandmarkScheme(
    name="phantom23",
    num_landmarks=23,
    mirror=swap(23, *turned(0, 4), (5, 8), (6, 7), (9, 14), (10, 13), (11, 12), (17, 18), (19, 21)),
    normalizers=(("inter_ocular", (9, 14)),),
    names=(
        "right_temple", "right_jaw", "chin", "left_jaw", "left_temple",
        "right_brow_outer", "right_brow_inner", "left_brow_inner", "left_brow_outer",
        "right_eye_outer", "right_pupil", "right_eye_inner", "left_eye_inner", "left_pupil", "left_eye_outer",
        "nose_bridge", "nose_tip", "right_nose_wing", "left_nose_wing",
        "right_mouth_corner", "upper_lip", "left_mouth_corner", "lower_lip",
    ),
    connections=(
        *line(0, 4), (5, 6), (7, 8), *line(9, 11), *line(12, 14), (15, 16), (17, 16), (16, 18), *line(19, 22, True),
    ),
)  # fmt: skip
