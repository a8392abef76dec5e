// The safetensors format: named tensors behind a JSON header (github.com/huggingface/safetensors, "Format").
#pragma once

#include <heed/engine/tensor.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace heed {

struct Safetensors {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;

  /// The tensor of that name, or null.
  Tensor const* find(std::string_view name) const;
};

/// Replaces the file at `path` as a whole (AtomicFile). Names are unique UTF-8. Tensors go by element size, large ones
/// first, else in the order given, so that each is aligned to its element; the data start at a multiple of 8 bytes.
void save_safetensors(std::string const& path, Safetensors const& content);

/// Tensors and metadata in the order of the header. The file is not trusted: an Error unless the header is JSON of the
/// format's shape and the tensors, of types that heed holds, cover the data without hole or overlap.
Safetensors load_safetensors(std::string const& path);

}  // namespace heed
