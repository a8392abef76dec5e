// The list by which the engine finds the kernel tables of this level.
#include <heed/engine/ops/device_tables.h>

#include <string_view>
#include <utility>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// By the name that HEED_KERNELS gives to the table of the CPU's levels; null where there is none.
void const* device_table(std::string_view name);

void const* device_table(std::string_view name) {
  static constexpr std::pair<std::string_view, void const*> tables[] = {
      // clang-format off
      {"attend_half_kernels", &device_attend_half_kernels},
      {"attend_kernels", &device_attend_kernels},
      {"attend_rows_kernels", &device_attend_rows_kernels},
      {"bag_kernels", &device_bag_kernels},
      {"convolutions", &device_convolutions},
      {"copy_kernels", &device_copy_kernels},
      {"cross_entropy_kernels", &device_cross_entropy_kernels},
      {"ctc_kernels", &device_ctc_kernels},
      {"cumulative_kernels", &device_cumulative_kernels},
      {"distance_kernels", &device_distance_kernels},
      {"distribution_kernels", &device_distribution_kernels},
      {"embedding_kernels", &device_embedding_kernels},
      {"exact_reduce_kernels", &device_exact_reduce_kernels},
      {"factor_kernels", &device_factor_kernels},
      {"fourier_transforms", &device_fourier_transforms},
      {"gemm_kernels", &device_gemm_kernels},
      {"index_kernels", &device_index_kernels},
      {"matrix_unit_kernels", &device_matrix_unit_kernels},
      {"norm_kernels", &device_norm_kernels},
      {"optimise_kernels", &device_optimise_kernels},
      {"pointwise_kernels", &device_pointwise_kernels},
      {"pool_kernels", &device_pool_kernels},
      {"program_kernels", &device_program_kernels},
      {"quantize_kernels", &device_quantize_kernels},
      {"random_kernels", &device_random_kernels},
      {"recurrent_kernels", &device_recurrent_kernels},
      {"reduce_kernels", &device_reduce_kernels},
      {"scan_kernels", &device_scan_kernels},
      {"search_kernels", &device_search_kernels},
      {"softmax_kernels", &device_softmax_kernels},
      {"sort_kernels", &device_sort_kernels},
      {"spatial_kernels", &device_spatial_kernels},
      {"special_kernels", &device_special_kernels},
      {"whole_kernels", &device_whole_kernels},
      // clang-format on
  };
  for (auto const& [known, table] : tables)
    if (known == name) return table;
  return nullptr;
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
