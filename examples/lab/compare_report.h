// The page of a comparison, from its journal and its verdict alone.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "verdict.h"

namespace lab {

/// Writes the file whole or not at all.
void write_comparison(std::string const& path, nlohmann::json const& head, std::vector<Outcome> const& outcomes,
                      JudgeOptions const& options, Verdict const& verdict);

}  // namespace lab
