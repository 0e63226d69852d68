#include "base/utf8.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace fmaserver {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct ByteRange {
  unsigned char min = 0x80;
  unsigned char max = 0xBF;
};

/// The length in bytes of a character whose first byte is `lead`; 0 when no character begins with
/// it.
size_t CharacterLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/// What may follow `lead`: narrower than 80..BF where that would be overlong, a surrogate or above
/// U+10FFFF.
ByteRange SecondByte(unsigned char lead) {
  switch (lead) {
    case 0xE0:
      return {.min = 0xA0};
    case 0xED:
      return {.max = 0x9F};
    case 0xF0:
      return {.min = 0x90};
    case 0xF4:
      return {.max = 0x8F};
    default:
      return {};
  }
}

}  // namespace

Utf8Prefix NextUtf8(std::string_view bytes) {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  const size_t length = CharacterLength(lead);
  if (length == 0) return {Utf8Prefix::Kind::kInvalid, 1};
  ByteRange allowed = SecondByte(lead);
  for (size_t i = 1; i < std::min(length, bytes.size()); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (byte < allowed.min || byte > allowed.max) return {Utf8Prefix::Kind::kInvalid, i};
    allowed = {};
  }
  if (bytes.size() < length) return {Utf8Prefix::Kind::kIncomplete, bytes.size()};
  return {Utf8Prefix::Kind::kCharacter, length};
}

absl::Status ValidateUtf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Prefix next = NextUtf8(text.substr(offset));
    if (next.kind != Utf8Prefix::Kind::kCharacter) {
      return absl::InvalidArgumentError(
          Concat("text is not valid UTF-8: found byte 0x",
                 absl::Hex(static_cast<unsigned char>(text[offset]), absl::kZeroPad2),
                 " at offset ", offset, " that belongs to no character"));
    }
    offset += next.length;
  }
  return absl::OkStatus();
}

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  Utf8Stream stream;
  std::string text = stream.Push(bytes);
  text += stream.Finish();
  return text;
}

std::string Utf8Stream::Push(std::string_view bytes) {
  const std::string all = Concat(std::exchange(pending_, {}), bytes);
  const std::string_view rest = all;
  std::string text;
  for (size_t offset = 0; offset < all.size();) {
    const Utf8Prefix next = NextUtf8(rest.substr(offset));
    if (next.kind == Utf8Prefix::Kind::kIncomplete) {
      pending_ = rest.substr(offset);
      break;
    }
    text +=
        next.kind == Utf8Prefix::Kind::kCharacter ? rest.substr(offset, next.length) : kReplacement;
    offset += next.length;
  }
  return text;
}

std::string Utf8Stream::Finish() {
  const bool unfinished = !std::exchange(pending_, {}).empty();
  return std::string(unfinished ? kReplacement : "");
}

}  // namespace fmaserver
