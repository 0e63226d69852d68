#include "model_loader/chat_template/marked_text.h"

#include <algorithm>
#include <utility>

namespace fmaserver::chat {

MarkedText::MarkedText(std::string bytes, Origin origin) : bytes_(std::move(bytes)) {
  if (!bytes_.empty()) runs_.push_back({bytes_.size(), origin});
}

Origin MarkedText::OriginAt(size_t offset) const {
  return std::upper_bound(runs_.begin(), runs_.end(), offset,
                          [](size_t place, const Run& run) { return place < run.end; })
      ->origin;
}

void MarkedText::Append(std::string_view bytes, Origin origin) {
  if (bytes.empty()) return;
  bytes_ += bytes;
  if (!runs_.empty() && runs_.back().origin == origin) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), origin});
  }
}

void MarkedText::Append(const MarkedText& text, size_t begin, size_t end) {
  auto run = std::upper_bound(text.runs_.begin(), text.runs_.end(), begin,
                              [](size_t place, const Run& later) { return place < later.end; });
  const std::string_view bytes = text.bytes_;
  for (; begin < end; ++run) {
    const size_t stop = std::min(run->end, end);
    Append(bytes.substr(begin, stop - begin), run->origin);
    begin = stop;
  }
}

MarkedText MarkedText::Slice(size_t begin, size_t end) const {
  MarkedText slice;
  slice.Append(*this, begin, end);
  return slice;
}

}  // namespace fmaserver::chat
