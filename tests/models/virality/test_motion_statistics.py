"""What a skeleton's statistics say of how far, how fast and with what its joints move."""

import pytest
import torch

from models.virality.psgcn import Psgcn, motion_statistics, statistics_count


def statistics(streams: torch.Tensor, seen: torch.Tensor) -> dict[str, torch.Tensor]:
    """motion_statistics by what they are; [N, rows, V], and the last [N, pairs]."""
    axes, joints = streams.shape[1] // 4, streams.shape[3]
    values = motion_statistics(streams, seen)
    assert values.shape == (len(streams), statistics_count(joints, axes))
    parts = {"deviation": 4 * axes, "speed deviation": 2, "turn deviation": axes, "speed": 2, "turn": axes}
    parts |= {"least turn": axes, "largest turn": axes}
    *by_joint, together = values.split([*(rows * joints for rows in parts.values()), joints * (joints - 1) // 2], 1)
    named = {name: part.unflatten(1, (-1, joints)) for name, part in zip(parts, by_joint, strict=True)}
    return named | {"together": together}


def test_statistics_say_how_far_how_fast_and_what_moves_together() -> None:
    time = torch.arange(40.0)
    streams = torch.zeros(1, 9, 40, 17)
    streams[0, 0, :, 9] = torch.sin(time)  # the left wrist's place
    speed = 1 + torch.sin(time / 3)
    streams[0, 4, :, 9], streams[0, 5, :, 10] = speed, -2 * speed  # both wrists are fast at the same time
    streams[0, 4, :, 15] = 1 + torch.cos(time / 3)
    streams[0, 1, :, [0, 10, 15]] = torch.cos(time)[:, None]  # these move, too
    named = statistics(streams, torch.ones(1, 40, 17, dtype=torch.bool))
    assert named["deviation"][0, 0, 9].exp().item() == pytest.approx(time.sin().std(correction=0).item(), abs=1e-3)
    assert named["speed"][0, 0, 10].exp().item() == pytest.approx(2 * speed.mean().item(), abs=1e-4)
    pairs = {pair: place for place, pair in enumerate((a, b) for a in range(17) for b in range(a + 1, 17))}
    together = named["together"][0]
    assert together[pairs[9, 10]].item() == pytest.approx(1, abs=1e-3)
    apart = torch.corrcoef(torch.stack([speed, 1 + torch.cos(time / 3)]))[0, 1].item()
    assert together[pairs[9, 15]].item() == pytest.approx(apart, abs=1e-3)
    assert together[pairs[0, 9]] == 0


def test_statistics_say_how_far_a_bone_turns_from_where_it_was_first_seen() -> None:
    streams, seen = torch.randn(1, 9, 5, 17), torch.ones(1, 5, 17, dtype=torch.bool)
    seen[0, 0, 9] = False  # the left forearm is seen from the second frame on, when it hangs; a quarter turn up
    angle = torch.tensor([9.0, 0.0, 0.25, 0.5, 0.4]) * torch.pi
    streams[0, 2, :, 9], streams[0, 3, :, 9] = 0.7 * torch.sin(angle), 0.7 * torch.cos(angle)
    named = statistics(streams, seen)
    torch.testing.assert_close(named["largest turn"][0, :, 9], torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(named["least turn"][0, :, 9], torch.tensor([0.0, -1.0]), atol=1e-5, rtol=0)
    mean = torch.stack([angle[1:].sin().mean(), angle[1:].cos().mean() - 1])
    torch.testing.assert_close(named["turn"][0, :, 9], mean)
    spread = named["turn deviation"][0, 0, 9].exp().item()
    assert spread == pytest.approx(angle[1:].sin().std(correction=0).item(), abs=1e-4)


def test_statistics_of_what_is_not_seen_are_not_counted_and_those_of_what_is_never_seen_are_not_known() -> None:
    streams, seen = torch.randn(2, 9, 20, 17), torch.rand(2, 20, 17) > 0.4
    seen[0, :, 3] = False
    hidden = torch.where(seen[:, None], streams, float("nan"))
    values = motion_statistics(hidden, seen)
    torch.testing.assert_close(motion_statistics(streams, seen), values, equal_nan=True)
    assert values[1].isfinite().all()
    unknown = statistics(hidden, seen)
    together = unknown.pop("together")[0]
    assert all(part[0, :, 3].isnan().all() for part in unknown.values())
    assert values[0].isnan().sum().item() == 20 * 1 + 16  # every number of the joint, and of its pairs
    assert together.isnan().sum().item() == 16


def test_a_joint_that_does_not_move_is_not_known_unless_asked_for() -> None:
    """As in a film of one picture, or where a single frame shows the joint: logarithms of nothing would be wild."""
    streams, seen = torch.randn(3, 9, 20, 17), torch.ones(3, 20, 17, dtype=torch.bool)
    streams[0], streams[1, :, :, 3] = streams[0, :, :1], streams[1, :, :1, 3]
    seen[2, 1:, 3] = False
    values = motion_statistics(streams, seen)
    assert values[0].isnan().all()
    assert values[1].isnan().sum().item() == values[2].isnan().sum().item() == 20 + 16
    assert motion_statistics(streams[:, :, :1], seen[:, :1]).isnan().all(), "a clip of one frame"
    known = motion_statistics(streams, seen, still=True)
    assert known.isfinite().all()
    torch.testing.assert_close(torch.where(values.isnan(), values, known), values, equal_nan=True)


def test_a_skeleton_of_three_coordinates_is_seen_in_all_of_them() -> None:
    torch.manual_seed(0)
    seen = torch.ones(2, 20, 17, dtype=torch.bool)
    flat = torch.randn(2, 9, 20, 17)
    joint, bone, motion, bone_motion = (pair for pair in flat[:, :-1].split(2, 1))
    nothing = torch.zeros(2, 1, 20, 17)
    third = [torch.cat([pair, nothing], 1) for pair in (joint, bone, motion, bone_motion)]
    named = statistics(torch.cat([*third, flat[:, -1:]], 1), seen)
    two = statistics(flat, seen)
    # Without a third axis as in two coordinates: only that axis itself is new.
    for name in ("speed deviation", "speed", "together"):
        torch.testing.assert_close(named[name], two[name])
    for name in ("turn", "least turn", "largest turn", "turn deviation"):
        torch.testing.assert_close(named[name][:, :2], two[name])
    planar = [axis for axis in range(12) if axis % 3 != 2]
    torch.testing.assert_close(named["deviation"][:, planar], two["deviation"])
    third[2] = torch.cat([motion, torch.full_like(nothing, 3.0)], 1)
    deep = statistics(torch.cat([*third, flat[:, -1:]], 1), seen)
    speed = (motion.square().sum(1) + 9).sqrt().mean(1)
    torch.testing.assert_close(deep["speed"][:, 0].exp(), speed)
    encoded = Psgcn(coordinates=3)(torch.randn(2, 13, 5, 17), seen[:, :5])
    assert encoded.score.isfinite().all()
