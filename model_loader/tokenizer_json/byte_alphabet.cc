#include "model_loader/tokenizer_json/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "utf8proc.h"

namespace fmaserver::model {
namespace {

constexpr bool IsPrintable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

constexpr int kCodes = 0x100 + 68;  // 68 bytes are not printable

/// By code point: the byte, or -1.
constexpr std::array<int16_t, kCodes> kBytes = [] {
  std::array<int16_t, kCodes> bytes{};
  bytes.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    bytes[IsPrintable(byte) ? byte : next++] = static_cast<int16_t>(byte);
  }
  return bytes;
}();

}  // namespace

std::optional<std::string> BytesOfSpelling(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    utf8proc_int32_t code = -1;
    const auto* const start = reinterpret_cast<const utf8proc_uint8_t*>(token.data());
    const auto size = static_cast<utf8proc_ssize_t>(token.size());
    const utf8proc_ssize_t length = utf8proc_iterate(start, size, &code);
    if (length <= 0 || code >= kCodes || kBytes[code] < 0) return std::nullopt;
    bytes += static_cast<char>(kBytes[code]);
    token.remove_prefix(length);
  }
  return bytes;
}

}  // namespace fmaserver::model
