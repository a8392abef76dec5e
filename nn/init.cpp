#include <heed/engine/tape.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn::init {

void normal_(Tensor& tensor, double deviation, double mean) {
  NoGrad const off;
  tensor.copy_(randn(tensor.shape(), tensor.dtype()) * deviation + mean);
}

void uniform_(Tensor& tensor, double low, double high) {
  NoGrad const off;
  tensor.copy_(rand(tensor.shape(), tensor.dtype()) * (high - low) + low);
}

void constant_(Tensor& tensor, double value) {
  NoGrad const off;
  tensor.fill_(value);
}

void xavier_uniform_(Tensor& weight) {
  double const bound = std::sqrt(6.0 / double(weight.size(0) + weight.size(1)));
  uniform_(weight, -bound, bound);
}

void kaiming_uniform_(Tensor& weight, double gain) {
  double const bound = gain * std::sqrt(3.0 / double(weight.size(1)));
  uniform_(weight, -bound, bound);
}

}  // namespace heed::nn::init
