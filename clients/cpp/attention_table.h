// How the answer's tokens divided their attention among the parts of the hierarchy.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fma/v1/generation.pb.h"

namespace fmaserver::client {

/// An array with an object for each layer: sinks, near_field, levels, opened_units.
nlohmann::json SharesToJson(const v1::AttentionShares& shares);

/// Averages over tokens.
class AttentionTable {
 public:
  void Add(const v1::Delta& delta);

  /// For people: a line for each layer and one for all of them, a column for each part that got
  /// any; empty: nothing was asked.
  std::string Table() const;

 private:
  std::vector<std::vector<double>> sums_;  // [layers, parts]: sinks, near field, levels, opened
  int64_t tokens_ = 0;
};

}  // namespace fmaserver::client
