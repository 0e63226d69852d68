#include "clients/cpp/passages.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "clients/cpp/output.h"

namespace fmaserver::client {
namespace {

constexpr size_t kShown = 5;

/// In one line.
std::string Line(const v1::Source& source) {
  return absl::StrJoin(
      absl::StrSplit(source.text(), absl::ByAnyChar(" \t\n\r\f\v"), absl::SkipEmpty()), " ");
}

}  // namespace

nlohmann::json SourcesToJson(const v1::Sources& sources) {
  nlohmann::json array = nlohmann::json::array();
  for (const v1::Source& source : sources.sources()) {
    nlohmann::json& object = array.emplace_back();
    object = {{"first_token", source.first_token()},
              {"end_token", source.end_token()},
              {"share", source.share()},
              {"text", source.text()},
              {"first_byte", nullptr},
              {"end_byte", nullptr}};
    if (source.has_first_byte()) object["first_byte"] = source.first_byte();
    if (source.has_end_byte()) object["end_byte"] = source.end_byte();
  }
  return array;
}

void Passages::Add(const v1::Delta& delta) {
  tokens_ += delta.sources_size();
  for (const v1::Sources& sources : delta.sources()) {
    for (const v1::Source& source : sources.sources()) {
      Passage& passage = passages_[source.first_token()];
      passage.source = source;
      passage.share += source.share();
    }
  }
}

std::string Passages::Table() const {
  std::vector<const Passage*> best;
  for (const auto& [token, passage] : passages_) best.push_back(&passage);
  const auto most = [](const Passage* a, const Passage* b) { return a->share > b->share; };
  std::ranges::stable_sort(best, most);
  best.resize(std::min(best.size(), kShown));
  std::string table =
      best.empty() ? "" : "read most in the archive, with its share of attention:\n";
  for (const Passage* passage : best) {
    absl::StrAppendFormat(&table, "%5.1f %%  tokens %s to %s  %s\n",
                          100 * passage->share / static_cast<double>(tokens_),
                          WithCommas(passage->source.first_token()),
                          WithCommas(passage->source.end_token() - 1), Line(passage->source));
  }
  return table;
}

}  // namespace fmaserver::client
