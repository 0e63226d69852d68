// Text that remembers who wrote which part of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fmaserver::chat {

enum class Origin : uint8_t {
  kTemplate,
  kMessage,  ///< a message of the conversation
  kAnswer,   ///< the answer that stands for those that a session holds already
};

/// UTF-8. However parts are cut out and joined, each byte keeps its origin.
class MarkedText {
 public:
  /// A part of one origin, which begins where the one before ends.
  struct Run {
    size_t end = 0;
    Origin origin = Origin::kTemplate;
  };

  MarkedText() = default;
  explicit MarkedText(std::string bytes, Origin origin = Origin::kTemplate);

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  /// Ascending; the last ends with the text. No run is empty, and neighbours differ.
  const std::vector<Run>& runs() const { return runs_; }

  Origin OriginAt(size_t offset) const;

  void Append(std::string_view bytes, Origin origin);
  void Append(const MarkedText& text) { Append(text, 0, text.size()); }
  /// Bytes [begin, end) of `text`.
  void Append(const MarkedText& text, size_t begin, size_t end);
  MarkedText Slice(size_t begin, size_t end) const;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace fmaserver::chat
