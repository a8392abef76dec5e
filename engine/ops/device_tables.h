// The kernel tables of an accelerator: the types of the CPU's, all pointers to device memory, kernels on the calling
// thread's stream.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/attend_half.h>
#include <heed/engine/ops/conv.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/cross_entropy.h>
#include <heed/engine/ops/ctc.h>
#include <heed/engine/ops/cumulative.h>
#include <heed/engine/ops/distance.h>
#include <heed/engine/ops/distributions.h>
#include <heed/engine/ops/embedding.h>
#include <heed/engine/ops/embedding_bag.h>
#include <heed/engine/ops/factor.h>
#include <heed/engine/ops/fourier.h>
#include <heed/engine/ops/index.h>
#include <heed/engine/ops/integer.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/norm.h>
#include <heed/engine/ops/optimise.h>
#include <heed/engine/ops/pointwise_device.h>
#include <heed/engine/ops/pool.h>
#include <heed/engine/ops/program_device.h>
#include <heed/engine/ops/quantize.h>
#include <heed/engine/ops/random.h>
#include <heed/engine/ops/recurrent.h>
#include <heed/engine/ops/reduce.h>
#include <heed/engine/ops/reduce_exact.h>
#include <heed/engine/ops/scan.h>
#include <heed/engine/ops/search.h>
#include <heed/engine/ops/softmax.h>
#include <heed/engine/ops/sort.h>
#include <heed/engine/ops/spatial_kernels.h>
#include <heed/engine/ops/special.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

extern AttendHalfKernels const device_attend_half_kernels;
extern AttendKernels const device_attend_kernels;
extern AttendRowsKernels const device_attend_rows_kernels;
extern BagKernels const device_bag_kernels;
extern Convolutions const device_convolutions;
extern CopyKernels const device_copy_kernels;
extern CrossEntropyKernels const device_cross_entropy_kernels;
extern CtcKernels const device_ctc_kernels;
extern DeviceCumulativeKernels const device_cumulative_kernels;
extern DistanceKernels const device_distance_kernels;
extern DistributionKernels const device_distribution_kernels;
extern EmbeddingKernels const device_embedding_kernels;
extern ExactReduceKernels const device_exact_reduce_kernels;
extern FactorKernels const device_factor_kernels;
extern FourierTransforms const device_fourier_transforms;
extern GemmKernels const device_gemm_kernels;
extern DeviceIndexKernels const device_index_kernels;
extern MatrixUnitKernels const device_matrix_unit_kernels;
extern NormKernels const device_norm_kernels;
extern OptimiseKernels const device_optimise_kernels;
extern DevicePointwiseKernels const device_pointwise_kernels;
extern DevicePoolKernels const device_pool_kernels;
extern DeviceProgramKernels const device_program_kernels;
extern QuantizeKernels const device_quantize_kernels;
extern RandomKernels const device_random_kernels;
extern RecurrentKernels const device_recurrent_kernels;
extern ReduceKernels const device_reduce_kernels;
extern DeviceSearchKernels const device_search_kernels;
extern ScanKernels const device_scan_kernels;
extern SoftmaxKernels const device_softmax_kernels;
extern DeviceSortKernels const device_sort_kernels;
extern SpatialKernels const device_spatial_kernels;
extern SpecialKernels const device_special_kernels;
extern WholeKernels const device_whole_kernels;

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
