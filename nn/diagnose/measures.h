// The measures of over-dependence by name: what each says, of whom, in which range.
#pragma once

#include <heed/nn/catalogue.h>

#include <string_view>
#include <vector>

namespace heed::nn {

/// Families: spread (how many keys a query rests on), place (which ones), heads (how alike heads are), rank (whether
/// tokens become one).
struct MeasureRow : Entry {
  std::string_view unit;     // "nats", "keys", "positions", or "1"
  double low, high;          // what it can be; high may be infinite
  std::string_view reading;  // what a low and what a high value say
  bool by_head;              // else one number a layer
};

/// In the order in which Diagnosis has their values.
std::vector<MeasureRow> const& measures();
/// Where in measures() it stands; an Error that names the nearest where there is none.
size_t measure_index(std::string_view name);

}  // namespace heed::nn
