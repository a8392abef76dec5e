// The figures of layouts.h against CuTe's description of the same instructions (PyPI: nvidia-cutlass). Not built by
// CMake; with the wheel unpacked in W:
//   g++ -std=c++20 -I W/cutlass_library/source/include -I CUDA/include layouts_cute.cpp && ./a.out
#include <cstdio>
#include <cute/atom/mma_traits_sm80.hpp>

#include "layouts.h"

namespace {

int entries, different;

/// CuTe maps (lane, value) to row + rows·column of an operand; `place` says what the figure has at (row, column).
template <class Layout, class Place>
void compare(Layout layout, int rows, int values, Place const& place) {
  for (int lane = 0; lane < 32; ++lane)
    for (int value = 0; value < values; ++value) {
      int const at = int(layout(lane, value));
      auto const [figure_lane, figure_value] = place(at % rows, at / rows);
      ++entries, different += figure_lane != lane || figure_value != value;
    }
}

struct Found {
  int lane, value;
};
Found found(layouts::Place p, int of_register, int half) { return {p.lane, of_register * p.number + half}; }

}  // namespace

int main() {
  using namespace cute;
  using Wide = MMA_Traits<SM80_16x8x16_F32BF16BF16F32_TN>;
  using Tf32 = MMA_Traits<SM80_16x8x8_F32TF32TF32F32_TN>;
  compare(Wide::ALayout{}, 16, 8, [](int m, int k) { return found(layouts::a_16[m][k / 2], 2, k % 2); });
  compare(Wide::BLayout{}, 8, 4, [](int n, int k) { return found(layouts::b_16[k / 2][n], 2, k % 2); });
  compare(Wide::CLayout{}, 16, 4, [](int m, int n) { return found(layouts::c_32[m][n], 1, 0); });
  compare(Tf32::ALayout{}, 16, 4, [](int m, int k) { return found(layouts::a_32[m][k], 1, 0); });
  compare(Tf32::BLayout{}, 8, 2, [](int n, int k) { return found(layouts::b_32[k][n], 1, 0); });
  compare(Tf32::CLayout{}, 16, 4, [](int m, int n) { return found(layouts::c_32[m][n], 1, 0); });
  std::printf("%d of %d entries differ\n", different, entries);
  return different != 0;
}
