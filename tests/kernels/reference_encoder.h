// The plain, slow definition of an encoder's attention in float64, straight from docs/model.md: one
// token after the other, from scratch.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "tests/kernels/reference.h"

namespace fmaserver::testing {

class ReferenceEncoder {
 public:
  /// `qkv` is [n, (H + 2K) d]. Both must outlive it.
  ReferenceEncoder(const ReferenceAttention& layer, const std::vector<float>& qkv);

  /// [n, H*d].
  std::vector<double> Evaluate();

  /// How many scores against summaries the whole sequence needs: one for each token, or with
  /// down-sampled queries for each share that has a token.
  int64_t FarScores();

 private:
  /// Groups of `level` that the tokens of group `own` see.
  std::vector<int64_t> FarGroups(int level, int64_t own) const;
  /// A group's summaries of vector `column` of a token (of queries, then keys, then values); a
  /// share without one has no numbers.
  const std::vector<std::vector<double>>& Summaries(int64_t column, int level, int64_t group);
  std::vector<std::vector<double>> Averages(int64_t column, int level, int64_t group) const;
  std::vector<std::vector<double>> Inputs(int64_t column, int level, int64_t group);
  std::vector<double> FarTurn(std::vector<double> x, double position) const;
  double Centre(int level, int64_t group, int64_t share) const;
  int64_t Width(int level) const;
  void AddGroup(int64_t t, int head, int level, int64_t group, std::vector<ReferenceItem>& items);

  const ReferenceAttention& layer_;
  const kernels::AttentionSpec& spec_;
  const std::vector<float>& qkv_;
  const int64_t length_;
  std::map<std::tuple<int64_t, int, int64_t>, std::vector<std::vector<double>>> made_;
};

}  // namespace fmaserver::testing
