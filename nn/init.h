// Initialisers: they fill a tensor in place, unknown to the tape.
#pragma once

#include <heed/engine/ops.h>

namespace heed::nn::init {

/// N(mean, deviation²)
void normal_(Tensor& tensor, double deviation, double mean = 0);
/// U(low, high)
void uniform_(Tensor& tensor, double low, double high);
void constant_(Tensor& tensor, double value);
/// U(±√(6/(fan_in + fan_out))) for a weight [out, in] (Glorot and Bengio, 2010)
void xavier_uniform_(Tensor& weight);
/// U(±√(3/fan_in)·gain) for a weight [out, in] (He et al., 2015)
void kaiming_uniform_(Tensor& weight, double gain);

}  // namespace heed::nn::init
