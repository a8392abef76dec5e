// What a tensor is and where it came from, in words.
#pragma once

#include <heed/engine/tensor.h>

#include <string>

namespace heed {

struct ExplainOptions {
  int depth = 5;   // operations within operations that the expression shows (at most 100)
  int terms = 40;  // operations that it shows in all; "…" stands for the others
};

/// For people, one fact a line: how the tensor was computed, its shape and layout, the storage and who else has it, the
/// operation and module that made it, and the bytes that its graph keeps for backward. In the expression variables have
/// their labels, and "data" is what is not differentiated.
std::string explain(Tensor const& tensor, ExplainOptions options = {});
/// The same as one JSON object, sizes in bytes.
std::string explain_json(Tensor const& tensor, ExplainOptions options = {});

}  // namespace heed
