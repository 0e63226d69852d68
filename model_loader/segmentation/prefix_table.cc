#include "model_loader/segmentation/prefix_table.h"

#include <algorithm>

namespace fmaserver::model {
namespace {

/// The byte at `offset`, or -1 past the end: a string sorts before longer ones that begin with it.
int ByteAt(std::string_view text, size_t offset) {
  return offset < text.size() ? static_cast<unsigned char>(text[offset]) : -1;
}

}  // namespace

PrefixTable::PrefixTable(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::sort(entries_.begin(), entries_.end());
  for (int byte = 0; byte < 256; ++byte) {
    starts_[byte + 1] = Narrow({starts_[byte], entries_.size()}, 0, byte).end;
  }
}

size_t PrefixTable::LongestPrefix(std::string_view text) const {
  size_t longest = 0;
  ForEachPrefix(text, [&longest](size_t length, int32_t) { longest = length; });
  return longest;
}

PrefixTable::Range PrefixTable::Narrow(Range range, size_t offset, int byte) const {
  const auto begin = entries_.begin();
  const auto first =
      std::partition_point(begin + range.first, begin + range.end,
                           [=](const Entry& entry) { return ByteAt(entry.first, offset) < byte; });
  const auto end = std::partition_point(first, begin + range.end, [=](const Entry& entry) {
    return ByteAt(entry.first, offset) == byte;
  });
  return {static_cast<size_t>(first - begin), static_cast<size_t>(end - begin)};
}

}  // namespace fmaserver::model
