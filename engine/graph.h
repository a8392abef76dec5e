// The graph that backward would walk, as a list, as Graphviz DOT and as a page to look at.
#pragma once

#include <heed/engine/tape.h>
#include <heed/engine/tensor.h>

#include <string>
#include <vector>

namespace heed {

/// The recorded operations that `tensor` depends on, each once, inputs before what reads them.
std::vector<Node const*> operations_below(Tensor const& tensor);

struct GraphOptions {
  int64_t most_operations = 1000;  // those nearest to the tensor; a note says how many are left out
  std::string title = "graph";     // of the page
};

/// Graphviz DOT: operations as boxes inside their modules, variables as ellipses, edges with shapes. Names count from
/// the inputs on, so that equal graphs give equal text.
std::string graph_dot(Tensor const& tensor, GraphOptions const& options = {});
/// A self-contained page (HTML, SVG, a small script, no network): modules fold and unfold by a click, and a box under
/// the pointer tells what it knows. Large graphs start folded.
std::string graph_html(Tensor const& tensor, GraphOptions const& options = {});

}  // namespace heed
