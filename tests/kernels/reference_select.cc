#include "tests/kernels/reference_select.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "kernels/fma/attention_parts.h"

namespace fmaserver::testing {
namespace {

using Tokens = std::vector<int64_t>;

// What rounding does to sums of float32 weights, and to the leverage of keys that were turned.
constexpr double kReceivedRounding = 1e-5;
constexpr double kNoveltyRounding = 2e-6;

// What it does to a key's distance from a border between two codes, in deviations, and to scores.
constexpr double kCodeRounding = 2e-6;
constexpr double kScoreRounding = 2e-4;

double InSteps(double novelty) { return std::nearbyint(novelty * 1024) / 1024; }

/// What a number may be in an implementation that rounds.
struct Bounds {
  double low;
  double high;
};

/// One KV head.
class HeadReference {
 public:
  HeadReference(const ReferenceAttention& layer, const std::vector<float>& qkv, int kv_head)
      : layer_(layer),
        spec_(layer.spec),
        parts_(spec_.hierarchy),
        qkv_(qkv),
        kv_head_(kv_head),
        received_(qkv.size() / spec_.QkvColumns()),
        leverage_(received_.size()) {}

  /// Chooses the groups that come into view at token `t`; false when rounding could turn a choice.
  bool Choose(int64_t t) {
    bool clear = true;
    for (int level = spec_.hierarchy.num_levels; level >= 1; --level) {
      const int64_t width = spec_.hierarchy.group_size * (int64_t{1} << (level - 1));
      const int64_t group = t / width - 2;
      if (t % width != 0 || group < 0) continue;
      Tokens candidates = level == 1 ? TokensOf(group) : view_[{level - 1, 2 * group}];
      if (level > 1) Append(view_[{level - 1, 2 * group + 1}], candidates);
      const auto asked_for = spec_.hierarchy.rank - spec_.select_novel;
      Tokens chosen = Take(candidates, asked_for, &HeadReference::Received, clear);
      Append(Take(candidates, spec_.select_novel, &HeadReference::Novelty, clear), chosen);
      std::ranges::sort(chosen);
      view_[{level, group}] = chosen;
    }
    return clear;
  }

  /// Finds the units that token `t` opens; false when rounding could turn that.
  bool Open(int64_t t) {
    opened_.clear();
    const int64_t u = spec_.open_size;
    std::vector<std::pair<double, int64_t>> scores;  // and units
    bool clear = true;
    for (int64_t unit = 0; spec_.Opens() && (unit + 1) * u <= (t / spec_.hierarchy.group_size - 1) *
                                                                  spec_.hierarchy.group_size;
         ++unit) {
      if ((unit + 1) * u <= spec_.hierarchy.sink_tokens) continue;
      const Sketch& sketch = SketchOf(unit, FormOf(unit * u, t) == Form::kPlaced);
      double best = -INFINITY;
      for (int i = 0; i < spec_.QueriesPerKvHead(); ++i) {
        const auto query = Query(t, kv_head_ * spec_.QueriesPerKvHead() + i, FormOf(unit * u, t));
        for (int64_t s = std::max<int64_t>(unit * u, spec_.hierarchy.sink_tokens);
             s < (unit + 1) * u; ++s) {
          best = std::max(best, Dot(query, sketch.keys[s - unit * u]));
        }
      }
      scores.emplace_back(best, unit);
      clear = clear && sketch.clear;
    }
    std::ranges::stable_sort(scores, std::ranges::greater(), [](const auto& x) { return x.first; });
    const auto count = std::min<size_t>(scores.size(), spec_.open_units);
    for (size_t i = 0; i < count; ++i) opened_.push_back(scores[i].second);
    std::ranges::sort(opened_);
    if (count == scores.size()) return true;
    const double last = scores[count - 1].first;
    const double next = scores[count].first;
    return clear && last - next > kScoreRounding * std::max(std::abs(last), std::abs(next));
  }

  /// Adds what token `t` gives, of these heads.
  void Attend(int64_t t, ReferenceRows& rows) {
    std::map<int64_t, double> sums;
    const size_t first_share = rows.shares.size();
    rows.shares.resize(first_share + parts_.Count());
    for (int i = 0; i < spec_.QueriesPerKvHead(); ++i) {
      const Entries entries = List(t, kv_head_ * spec_.QueriesPerKvHead() + i);
      const ReferenceSoftmax softmax(entries.items, spec_.head_dim);
      rows.out.insert(rows.out.end(), softmax.out.begin(), softmax.out.end());
      softmax.AddShares(entries.items, std::span(rows.shares).subspan(first_share));
      for (size_t e = 0; e < entries.items.size(); ++e) {
        if (entries.receives[e]) sums[entries.tokens[e]] += softmax.weights[e];
      }
    }
    for (const auto& [token, sum] : sums) received_[token] += sum;
  }

 private:
  struct Entries {
    void Add(int64_t token, bool receive, ReferenceItem item) {
      tokens.push_back(token);
      receives.push_back(receive);
      items.push_back(std::move(item));
    }
    Tokens tokens;
    std::vector<bool> receives;
    std::vector<ReferenceItem> items;
  };

  /// How an opened token is met: as it is, by its position, or as if max_distance away.
  enum class Form { kPlain, kPlaced, kDistant };

  Form FormOf(int64_t s, int64_t t) const {
    if (!spec_.FarIsRotated()) return Form::kPlain;
    const int64_t m = spec_.hierarchy.group_size;
    const bool far = spec_.max_distance > 0 && (t / m - s / m + 1) * m > spec_.max_distance;
    return far ? Form::kDistant : Form::kPlaced;
  }

  std::vector<double> Query(int64_t t, int head, Form form) const {
    std::vector<double> query = layer_.Vector(qkv_, t, head);
    if (form == Form::kPlain) return query;
    const int64_t position = form == Form::kPlaced ? t : spec_.max_distance;
    return layer_.Rotate(std::move(query), static_cast<double>(position));
  }

  /// What the sketch of a unit says of its keys; unless `clear`, rounding could turn a code.
  struct Sketch {
    std::vector<std::vector<double>> keys;
    bool clear = true;
  };

  const Sketch& SketchOf(int64_t unit, bool placed) {
    const auto [at, missing] = sketches_.try_emplace({unit, placed});
    Sketch& sketch = at->second;
    if (!missing) return sketch;
    const int64_t u = spec_.open_size;
    const int d = spec_.head_dim;
    for (int64_t s = unit * u; s < (unit + 1) * u; ++s) {
      sketch.keys.push_back(placed ? layer_.Rotate(Key(s), static_cast<double>(s)) : Key(s));
    }
    std::vector<double> mean(d, 0.0);
    std::vector<double> deviation(d, 0.0);
    for (int c = 0; c < d; ++c) {
      for (const auto& key : sketch.keys) mean[c] += key[c] / static_cast<double>(u);
      for (const auto& key : sketch.keys) {
        deviation[c] += std::pow(key[c] - mean[c], 2) / static_cast<double>(u);
      }
      deviation[c] = std::sqrt(deviation[c]);
    }
    for (auto& key : sketch.keys) {
      std::vector<double> z(d);
      std::vector<double> e(d);
      for (int c = 0; c < d; ++c) {
        z[c] = u == 1 ? 0 : key[c] - mean[c];
        const double size = std::abs(z[c]);
        e[c] = (size < 0.98 * deviation[c] ? 0.453 : 1.51) * deviation[c] * (z[c] < 0 ? -1 : 1);
        const double doubt = kCodeRounding * (std::abs(mean[c]) + deviation[c]);
        const bool border = size < doubt || std::abs(size - 0.98 * deviation[c]) < doubt;
        sketch.clear = sketch.clear && (u == 1 || !border);
      }
      const double product = Dot(z, e);
      const double factor = product == 0 ? 0 : Dot(z, z) / product;
      for (int c = 0; c < d; ++c) key[c] = mean[c] + factor * e[c];
    }
    return sketch;
  }

  bool IsOpened(int64_t s) const {
    return spec_.Opens() && std::ranges::binary_search(opened_, s / spec_.open_size);
  }

  static void Append(const Tokens& from, Tokens& to) {
    to.insert(to.end(), from.begin(), from.end());
  }

  std::vector<double> Key(int64_t token) const {
    return layer_.Vector(qkv_, token, spec_.num_heads + kv_head_);
  }

  /// A fine group's, except the sinks; all of its tokens get their leverage.
  Tokens TokensOf(int64_t group) {
    const int64_t m = spec_.hierarchy.group_size;
    FindLeverage(group * m, (group + 1) * m);
    Tokens tokens;
    for (int64_t s = group * m; s < (group + 1) * m; ++s) {
      if (s >= spec_.hierarchy.sink_tokens) tokens.push_back(s);
    }
    return tokens;
  }

  /// x^T (S + 0.1 mu I)^(-1) x by Gauss-Jordan elimination.
  void FindLeverage(int64_t first, int64_t end) {
    const int d = spec_.head_dim;
    const auto m = static_cast<double>(end - first);
    std::vector<std::vector<double>> x;
    std::vector<double> mean(d, 0.0);
    double square = 0;
    for (int64_t s = first; s < end; ++s) {
      x.push_back(Key(s));
      square += Dot(x.back(), x.back()) / (m * d);
      for (int c = 0; c < d; ++c) mean[c] += x.back()[c] / m;
    }
    std::vector<std::vector<double>> matrix(d, std::vector<double>(2 * d, 0.0));
    double mu = 0;
    for (auto& key : x) {
      for (int c = 0; c < d; ++c) key[c] -= mean[c];
      mu += Dot(key, key) / (m * d);
      for (int i = 0; i < d; ++i) {
        for (int j = 0; j < d; ++j) matrix[i][j] += key[i] * key[j] / m;
      }
    }
    if (mu <= 1e-10 * square) return;
    for (int i = 0; i < d; ++i) {
      matrix[i][i] += 0.1 * mu;
      matrix[i][d + i] = 1;
    }
    Invert(matrix);
    for (int64_t s = first; s < end; ++s) {
      const auto& key = x[s - first];
      leverage_[s] = 0;
      for (int i = 0; i < d; ++i) {
        leverage_[s] += key[i] * Dot({matrix[i].begin() + d, matrix[i].end()}, key);
      }
    }
  }

  static void Invert(std::vector<std::vector<double>>& matrix) {
    for (size_t k = 0; k < matrix.size(); ++k) {
      const double pivot = matrix[k][k];
      for (double& x : matrix[k]) x /= pivot;
      for (size_t i = 0; i < matrix.size(); ++i) {
        const double factor = matrix[i][k];
        for (size_t j = 0; j < matrix[i].size() && i != k; ++j)
          matrix[i][j] -= factor * matrix[k][j];
      }
    }
  }

  Bounds Received(int64_t token) const {
    return {received_[token] * (1 - kReceivedRounding), received_[token] * (1 + kReceivedRounding)};
  }
  Bounds Novelty(int64_t token) const {
    return {InSteps(leverage_[token] * (1 - kNoveltyRounding)),
            InSteps(leverage_[token] * (1 + kNoveltyRounding))};
  }

  /// Moves the `count` best out of `candidates`; of equals the earlier. `clear` becomes false when
  /// rounding could turn it.
  Tokens Take(Tokens& candidates, int64_t count, Bounds (HeadReference::*worth)(int64_t) const,
              bool& clear) const {
    const auto bounds = [&](int64_t token) { return (this->*worth)(token); };
    std::ranges::stable_sort(candidates, [&](int64_t a, int64_t b) {
      return bounds(a).low != bounds(b).low ? bounds(a).low > bounds(b).low : a < b;
    });
    Tokens taken(candidates.begin(), candidates.begin() + count);
    candidates.erase(candidates.begin(), candidates.begin() + count);
    for (const int64_t in : taken) {
      for (const int64_t out : candidates) {
        const Bounds a = bounds(in);
        const Bounds b = bounds(out);
        const bool equal = a.low == a.high && b.low == b.high && a.low == b.low && in < out;
        clear = clear && (a.low > b.high || equal);
      }
    }
    std::ranges::sort(candidates);
    return taken;
  }

  Entries List(int64_t t, int head) const {
    const int64_t m = spec_.hierarchy.group_size;
    const bool rope = spec_.positions == kernels::PositionEmbedding::kRope;
    const bool own = rope && spec_.far_positions == kernels::FarPositions::kOwn;
    const int64_t limit = spec_.max_distance;
    const double scale = layer_.ScoreScale();
    const std::vector<double> plain = layer_.Vector(qkv_, t, head);
    const auto query = [&](int64_t position) {
      return layer_.Rotate(plain, static_cast<double>(position));
    };
    const auto placed = [&](int64_t s) { return layer_.Rotate(Key(s), static_cast<double>(s)); };
    Entries entries;
    const auto add = [&](int part, int64_t s, bool receives, double score, double bias) {
      entries.Add(s, receives,
                  {part, score * scale + bias,
                   layer_.Vector(qkv_, s, spec_.num_heads + spec_.num_kv_heads + kv_head_)});
    };
    for (int64_t s = std::max<int64_t>(0, (t / m - 1) * m); s <= t; ++s) {
      add(kernels::AttentionParts::kNearField, s, t - s >= spec_.select_lag,
          Dot(query(t), placed(s)), 0);
    }
    for (int64_t s = 0; t / m >= 2 && s < spec_.hierarchy.sink_tokens; ++s) {
      const int64_t from = limit > 0 ? std::min(t, limit) : t;
      add(kernels::AttentionParts::kSinks, s, false,
          own ? Dot(query(from), placed(s)) : Dot(plain, Key(s)), 0);
    }
    std::set<int64_t> met_as_opened;
    for (int level = 1; level <= spec_.hierarchy.num_levels; ++level) {
      const int64_t width = m << (level - 1);
      const bool distant = limit > 0 && 4 * width > limit;
      for (int64_t group = t / width - 2 - t / width % 2; group <= t / width - 2; ++group) {
        const auto found = view_.find({level, group});
        if (found == view_.end()) continue;
        for (const int64_t s : found->second) {
          if (IsOpened(s)) {
            met_as_opened.insert(s);
            continue;
          }
          const double score = !own      ? Dot(plain, Key(s))
                               : distant ? Dot(query(limit), Key(s))
                                         : Dot(query(t), placed(s));
          add(parts_.Level(level), s, true, score, layer_.LevelBias(head, level));
        }
      }
    }
    for (const int64_t unit : opened_) {
      for (int64_t s = unit * spec_.open_size; s < (unit + 1) * spec_.open_size; ++s) {
        if (s < spec_.hierarchy.sink_tokens) continue;
        const Form form = FormOf(s, t);
        const double score = Dot(Query(t, head, form), form == Form::kPlaced ? placed(s) : Key(s));
        add(parts_.OpenedUnits(), s, met_as_opened.contains(s), score, 0);
      }
    }
    return entries;
  }

  const ReferenceAttention& layer_;
  const kernels::AttentionSpec& spec_;
  const kernels::AttentionParts parts_;
  const std::vector<float>& qkv_;
  const int kv_head_;
  std::vector<double> received_;
  std::vector<double> leverage_;
  std::map<std::pair<int, int64_t>, Tokens> view_;       // by level and group
  Tokens opened_;                                        // units, in order, of one token
  std::map<std::pair<int64_t, bool>, Sketch> sketches_;  // by unit and whether of placed keys
};

}  // namespace

ReferenceRows EvaluateSelected(const ReferenceAttention& layer, const std::vector<float>& qkv) {
  std::vector<HeadReference> heads;
  for (int i = 0; i < layer.spec.num_kv_heads; ++i) heads.emplace_back(layer, qkv, i);
  ReferenceRows rows;
  const auto n = static_cast<int64_t>(qkv.size()) / layer.spec.QkvColumns();
  for (int64_t t = 0; t < n; ++t) {
    for (HeadReference& head : heads) {
      if (!head.Choose(t) || !head.Open(t)) return rows;
    }
    for (HeadReference& head : heads) head.Attend(t, rows);
  }
  return rows;
}

}  // namespace fmaserver::testing
