"""The account of a compiled program, on text as compilers write it."""

from benchmarks.collectives import collectives

PROGRAM = """
  %all-reduce.1 = f32[128]{0:T(128)} all-reduce(%x), channel_id=1, replica_groups={{0,1}}
  %ar = (f32[2,4]{1,0}, bf16[8]{0}) all-reduce-start(%x, %y), channel_id=2
  %all-gather.3 = f32[16,4]{1,0:T(8,128)} all-gather(%x), dimensions={0}
  %ag = (f32[4,4]{1,0:T(8,128)}, f32[16,4]{1,0:T(8,128)}) all-gather-start(%x), dimensions={0}
  %ags = ((f32[4]{0}, s32[2]{0}), (f32[8]{0}, s32[4]{0}), u32[]) all-gather-start(%x, %y), dimensions={0}
  %cp = (bf16[4]{0}, bf16[4]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%x)
  %done = f32[16,4]{1,0} all-gather-done(%ag)
"""


def test_collectives_are_counted_with_the_bytes_of_their_results():
    assert collectives(PROGRAM) == {
        "all-reduce": (2, 128 * 4 + 8 * 4 + 8 * 2),
        "all-gather": (3, 2 * 16 * 4 * 4 + 8 * 4 + 4 * 4),
        "collective-permute": (1, 4 * 2),
    }
