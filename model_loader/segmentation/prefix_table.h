// Which of many strings a text begins with.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace fmaserver::model {

/// A sorted table, walked byte by byte: the entries that share the bytes seen so far are
/// neighbours. The strings must outlive the table, differ from each other, and not be empty.
class PrefixTable {
 public:
  using Entry = std::pair<std::string_view, int32_t>;

  PrefixTable() : PrefixTable(std::vector<Entry>()) {}
  explicit PrefixTable(std::vector<Entry> entries);

  /// Calls visit(length, id) for every entry that `text` begins with, shortest first.
  template <typename Visit>
  void ForEachPrefix(std::string_view text, const Visit& visit) const {
    if (text.empty()) return;
    const auto first = static_cast<unsigned char>(text[0]);
    Range range{starts_[first], starts_[first + 1]};
    for (size_t length = 1; range.first < range.end; ++length) {
      const Entry& shortest = entries_[range.first];
      if (shortest.first.size() == length) visit(length, shortest.second);
      if (length == text.size()) return;
      range = Narrow(range, length, static_cast<unsigned char>(text[length]));
    }
  }

  /// Length of the longest entry that `text` begins with; 0 when there is none.
  size_t LongestPrefix(std::string_view text) const;

 private:
  struct Range {
    size_t first = 0;
    size_t end = 0;
  };

  /// The entries of `range` whose byte at `offset` is `byte`.
  Range Narrow(Range range, size_t offset, int byte) const;

  std::vector<Entry> entries_;
  std::array<size_t, 257>
      starts_{};  ///< first entry that begins with a byte value or a greater one
};

}  // namespace fmaserver::model
