#include "clients/cpp/attention_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fmaserver::client {
namespace {

std::vector<double> InOrder(const v1::LayerShares& layer) {
  std::vector<double> parts = {layer.sinks(), layer.near_field()};
  parts.insert(parts.end(), layer.levels().begin(), layer.levels().end());
  parts.push_back(layer.opened_units());
  return parts;
}

std::string NameOf(size_t part, size_t parts) {
  if (part == 0) return "sinks";
  if (part == 1) return "near";
  return part + 1 == parts ? "opened" : absl::StrCat("level ", part - 1);
}

/// To `sums`, whose size is set by the first.
void AddTo(std::vector<double>& sums, const std::vector<double>& parts) {
  sums.resize(std::max(sums.size(), parts.size()));
  for (size_t part = 0; part < parts.size(); ++part) sums[part] += parts[part];
}

}  // namespace

nlohmann::json SharesToJson(const v1::AttentionShares& shares) {
  nlohmann::json array = nlohmann::json::array();
  for (const v1::LayerShares& layer : shares.layers()) {
    array.push_back({{"sinks", layer.sinks()},
                     {"near_field", layer.near_field()},
                     {"levels", layer.levels()},
                     {"opened_units", layer.opened_units()}});
  }
  return array;
}

void AttentionTable::Add(const v1::Delta& delta) {
  tokens_ += delta.attention_shares_size();
  for (const v1::AttentionShares& shares : delta.attention_shares()) {
    sums_.resize(std::max<size_t>(sums_.size(), shares.layers_size()));
    for (int i = 0; i < shares.layers_size(); ++i) AddTo(sums_[i], InOrder(shares.layers(i)));
  }
}

std::string AttentionTable::Table() const {
  if (tokens_ == 0) return {};
  std::vector<double> all;
  for (const std::vector<double>& layer : sums_) AddTo(all, layer);
  std::string table = "attention in %, on average over the answer:\nlayer";
  for (size_t part = 0; part < all.size(); ++part) {
    if (all[part] > 0) absl::StrAppendFormat(&table, "%9s", NameOf(part, all.size()));
  }
  const auto add_line = [&](const std::string& name, const std::vector<double>& sums,
                            double count) {
    absl::StrAppendFormat(&table, "\n%5s", name);
    for (size_t part = 0; part < sums.size(); ++part) {
      if (all[part] > 0) absl::StrAppendFormat(&table, "%9.1f", 100 * sums[part] / count);
    }
  };
  const auto tokens = static_cast<double>(tokens_);
  for (size_t i = 0; i < sums_.size(); ++i) add_line(absl::StrCat(i), sums_[i], tokens);
  add_line("all", all, tokens * static_cast<double>(sums_.size()));
  return table + "\n";
}

}  // namespace fmaserver::client
