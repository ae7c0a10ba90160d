"""The account of a program for a TPU, on text as its compiler writes it."""

import pytest

from benchmarks import tpu_program

PROGRAM = """
%fused_computation (p: u32[100,3], q: s32[64]) -> u32[64,3] {
  %gather.2 = u32[64,3]{1,0:T(8,128)} gather(%p, %q), offset_dims={1}, slice_sizes={1,3}
}

ENTRY %main (x: f32[4,130]) -> f32[] {
  %x = f32[4,130]{1,0:T(8,128)} parameter(0)
  %fast = bf16[16,128]{1,0:T(8,128)(2,1)S(1)} fusion(%x), calls=%f, backend_config={"estimated_cycles":"120"}
  %rows = u32[64,3]{0,1:T(4,128)} fusion(%fast, %x), calls=%fused_computation, metadata={op_name="gather"}
  %same = f32[4,130]{1,0:T(8,128)} bitcast(%x)
  %small = f32[2]{0:T(128)} add(%x, %x)
  ROOT %out = (f32[20000]{0:T(128)S(1)}, s32[2]{0:T(128)}) sort(%rows), dimensions={0}
}
"""


@pytest.mark.parametrize(
    "shape, expected",
    [
        ("f32[4,130]{1,0:T(8,128)}", 8 * 256 * 4),
        ("f32[4,130]{0,1:T(8,128)}", 128 * 136 * 4),
        ("bf16[16,128]{1,0:T(8,128)(2,1)}", 16 * 128 * 2),
        ("bf16[16,128]{1,0:T(8,128)(2,1)S(1)}", 0),
        ("(f32[2]{0:T(128)}, u8[3]{0})", 128 * 4 + 3),
        ("f32[]", 4),
    ],
)
def test_bytes_are_padded_to_tiles(shape, expected):
    assert tpu_program.padded_bytes(shape) == expected


def test_account():
    cost = tpu_program.account(PROGRAM)
    assert cost.of_gathers == 64 * tpu_program.CYCLES_OF_A_ROW
    assert cost.cycles == 120 + cost.of_gathers
    assert cost.unknown == {"sort": 1}
    x, rows, small = 8 * 256 * 4, 4 * 128 * 4, 128 * 4
    assert cost.memory_bytes == x + (rows + x) + (small + 2 * x) + (small + rows)
    assert "not counted: 1 x sort" in str(cost)
