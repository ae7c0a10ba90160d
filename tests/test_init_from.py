"""Trained weights at the start of a training, of one's own run or of others."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from configs import common
from h3r_jax import convert, models

pytest.importorskip("torch")
from tests.converting import save_torch, state, tiny_backbones  # noqa: F401  (a fixture)


def fresh(name, landmarks, head):
    return models.initialize(models.build(name, landmarks, head=head), 0, (64, 64, 3))


def test_starting_from_a_backbone(tmp_path):
    backbone = {
        key.removeprefix("backbone."): x for key, x in state("h3r hrnet").items() if key.startswith("backbone.")
    }
    backbone["classifier.weight"] = np.zeros((1000, 2048), np.float32)
    ours = fresh("tiny", 7, "heatmap")
    variables, report = convert.load_initial(save_torch(tmp_path / "a.pth", backbone), ours)
    assert jax.tree.structure(variables) == jax.tree.structure(ours)
    expected, _ = convert.from_torch(state("h3r hrnet"), convert.recognize(state("h3r hrnet")))
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["backbone"], expected["params"]["backbone"])
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["head"], ours["params"]["head"])
    assert report.left_out["classifier.weight"] == "classification head"
    assert set(report.fresh) == {"/".join(path) for path in traverse_util.flatten_dict(ours) if path[1] == "head"}
    assert "starting fresh (not there): batch_stats/head/bn/mean" in str(report)


def test_starting_from_a_whole_model_with_other_landmarks(tmp_path):
    source = save_torch(tmp_path / "a.pth", state("h3r hrnet"))
    variables, report = convert.load_initial(source, fresh("tiny", 7, "heatmap"))
    assert report.fresh == {"params/head/predict/kernel": "(1, 1, 18, 10) there, (1, 1, 18, 7) here"}
    np.testing.assert_array_equal(
        variables["params"]["head"]["conv"]["kernel"][0, 0].T,
        state("h3r hrnet")["heatmap_head.head.layers.0.weight"][..., 0, 0],
    )


@pytest.mark.parametrize("head, taken", [("heatmap", False), ("binary", True), (None, True)])
def test_a_last_layer_of_the_same_shape_is_taken_from_the_same_kind_of_head(tmp_path, head, taken):
    """Ten channels are five landmarks of two channels, or ten of one."""
    source = save_torch(tmp_path / "a.pth", state("h3r hrnet"))
    ours = fresh("tiny", 10, "heatmap")
    variables, report = convert.load_initial(source, ours, model="tiny", head=head)
    name = "params/head/predict/kernel"
    assert report.fresh == ({} if taken else {name: "of a head 'binary' for 5 landmarks there, a head 'heatmap' here"})
    expected = state("h3r hrnet")["heatmap_head.head.layers.3.weight"][..., 0, 0].T
    found = np.asarray(variables["params"]["head"]["predict"]["kernel"])[0, 0]
    np.testing.assert_array_equal(found, expected if taken else ours["params"]["head"]["predict"]["kernel"][0, 0])


def test_another_way_to_bring_branches_together_is_said(tmp_path):
    source = save_torch(tmp_path / "a.pth", state("facial"))
    _, report = convert.load_initial(source, fresh("tiny", 5, "heatmap"), model="tiny", head="heatmap")
    assert "by 'nearest' here, by 'bilinear' in tiny_facial" in str(report)
    assert report.fresh == {
        "params/head/predict/kernel": "of a head 'facial' for 5 landmarks there, a head 'heatmap' here"
    }
    assert not convert.load_initial(source, fresh("tiny_facial", 5, "facial"), model="tiny_facial", head="facial")[
        1
    ].notes


def test_a_pose_network_starts_from_the_backbone_of_all_branches(tmp_path):
    source = save_torch(tmp_path / "a.pth", state("h3r hrnet"))
    _, report = convert.load_initial(source, fresh("tiny_pose", 5, "pose"))
    reasons = {
        reason for name, reason in report.left_out.items() if "fuse_layers" in name and "num_batches" not in name
    }
    assert reasons == {"the pose form has no other branches at the end"}
    assert set(report.fresh) == {"params/head/predict/kernel", "params/head/predict_bias/bias"}


def test_another_backbone_cannot_start_a_training(tmp_path):
    source = save_torch(tmp_path / "a.pth", state("pose"))
    with pytest.raises(
        ValueError, match=r"a\.pth: the arrays are not those of this backbone; \d+ missing: .*unexpected: "
    ):
        convert.load_initial(source, fresh("mobilenet_v2", 5, "heatmap"))


def test_a_step_of_a_run_is_read(tmp_path):
    """The moving average of a training run, for PyTorch and as the start of another run."""
    optax = pytest.importorskip("optax")
    from h3r_jax.run import Run
    from h3r_jax.training import checkpoints
    from h3r_jax.training import state as training_state

    variables = fresh("tiny_pose", 5, "pose")
    run = training_state.create_state(variables, optax.sgd(0.1), keep_average=True)
    run = run.replace(average=jax.tree.map(lambda x: x + 1, run.average))
    saved = checkpoints.Checkpoints(Run(tmp_path), keep=1)
    saved.save(run)
    saved.close()
    config = common.get_config()
    config.model.name, config.model.head, config.landmarks.mirror = "tiny_pose", "pose", tuple(range(5))
    (tmp_path / "config.json").write_text(config.to_json())
    path = tmp_path / "checkpoints" / "0"
    read, spec, _ = convert.read(path)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.asarray(b) + 1), read, variables)
    assert (spec.model, spec.head, spec.landmarks) == ("tiny_pose", "pose", 5)
    started, report = convert.load_initial(path, fresh("tiny_pose", 5, "pose"))
    jax.tree.map(np.testing.assert_array_equal, started, read)
    assert not report.fresh and not report.left_out
